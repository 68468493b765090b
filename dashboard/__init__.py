"""The surface for people: Streamlit pages that show what the other packages computed."""
