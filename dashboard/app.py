"""The dashboard: started by `telltale dashboard`, which runs `streamlit run dashboard/app.py -- --workspace W`."""

import sys
from pathlib import Path

import streamlit as st

from dashboard import session
from dashboard.views.parts import empty
from ingest.errors import TelltaleError
from ingest.workspace import Workspace, open_workspace

HERE = Path(__file__).parent
PAGES = (
    ("worklist", "Worklist", ":material/format_list_bulleted:"),
    ("case", "Case", ":material/person_search:"),
    ("model", "Model", ":material/monitoring:"),
    ("data", "Data", ":material/database:"),
)


def main() -> None:
    """Choose the workspace and the task, then run the page that was asked for."""
    st.set_page_config(page_title="Telltale", page_icon=str(HERE / "telltale.svg"), layout="wide")
    st.html(HERE / "style.css")
    st.logo(str(HERE / "telltale-word.svg"), size="large")
    _keep_filters()
    arguments = session.parse_arguments(sys.argv[1:])
    page = st.navigation(
        [
            st.Page(HERE / "views" / f"{name}.py", title=title, icon=icon, default=name == "worklist", url_path=name)
            for name, title, icon in PAGES
        ],
        position="top",
    )
    try:
        workspace = open_workspace(arguments.workspace)
        task = _choose_task(workspace, arguments.task)
        if task is None:
            empty("Nothing has been scored here yet.", f"telltale score --workspace {arguments.workspace} --task TASK")
            return
        st.session_state[session.PLACE] = session.open_place(workspace, task)
        page.run()
    except TelltaleError as error:
        empty(str(error), "telltale ingest SOURCE --workspace WORKSPACE")


def _choose_task(workspace: Workspace, asked: str | None) -> str | None:
    """The task that was asked for, the only one, or the one that is picked on the page."""
    if asked is not None:
        return asked
    there = session.tasks(workspace)
    if len(there) > 1:
        return st.selectbox("Task", there, key="filter_task", width=320)
    return there[0] if there else None


def _keep_filters() -> None:
    """Streamlit forgets a widget that a page does not show; naming it again keeps the reader's filters."""
    for key in list(st.session_state):
        if str(key).startswith("filter_"):
            st.session_state[key] = st.session_state[key]


main()
