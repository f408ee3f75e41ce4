"""The command line put together. Called by `service.__main__`."""

import typer

from service.cli import (
    announce,
    brand,
    db,
    demo,
    doctor,
    keys,
    ledger,
    notice,
    people,
    post,
    privacy,
    processes,
    prove,
    ring,
    staff,
    suppressions,
    up,
)

app = typer.Typer(
    help="Bidden: mail that was asked for, with its proof.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("up")(up.up)
app.command("demo")(demo.demo)
app.command("web")(processes.web)
app.command("clock")(processes.tick)
app.add_typer(processes.sending, name="send")
app.command("inbox")(processes.inbox)
app.add_typer(db.app, name="db")
app.add_typer(ledger.app, name="ledger")
app.add_typer(people.app, name="people")
app.add_typer(keys.app, name="keys")
app.add_typer(ring.app, name="ring")
app.add_typer(staff.app, name="staff")
app.add_typer(brand.app, name="brand")
app.add_typer(announce.app, name="announce")
app.command("post")(post.post)
app.add_typer(notice.app, name="notice")
app.add_typer(privacy.app, name="privacy")
app.command("suppressions")(suppressions.suppressions)
app.command("prove")(prove.prove)
app.command("doctor")(doctor.doctor)
