"""`telltale tasks`: the tasks that come with Telltale."""


def tasks() -> None:
    """List the built-in tasks."""
    from ingest.task import load_task
    from serve.console import table
    from serve.options import built_in_tasks

    rows = []
    for name, path in built_in_tasks().items():
        task = load_task(path)
        kinds = ", ".join(target.kind for target in task.targets.values())
        rows.append([name, task.title, kinds, ", ".join(f"{s} ({spec.kind})" for s, spec in task.streams.items())])
    table("Built-in tasks", ["task", "predicts", "outcome", "streams"], rows)
