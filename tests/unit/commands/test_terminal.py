"""Tables in narrow terminals."""

import io

from rich.console import Console

from monitor.commands.terminal import simple_table


def test_a_name_is_folded_and_never_cut_in_a_narrow_terminal() -> None:
    name = "normal@dd2ca148ac65"
    out = io.StringIO()
    Console(file=out, width=24).print(simple_table(("reference", "exchanges"), [(name, "2400")]))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 24
    cells = [line.split("│")[1].strip() for line in lines if line.startswith("│")]
    assert "".join(cells) == name
