"""A row for each fault: its switch, what it hits, its seconds, and how often it has hit so far."""

from __future__ import annotations

from nicegui import ui

from greenroom.stage.breaking.switches import AIMS, FAULTS, Fault, Switches
from greenroom.stage.look import EVERY_S


def fault_switches(switches: Switches) -> None:
    """Build the rows into the current container; they follow what is switched on another page."""
    with ui.element("div").classes("stage-faults"):
        rows = [FaultRow(switches, fault) for fault in FAULTS]

    def look() -> None:
        for row in rows:
            row.look()

    ui.timer(EVERY_S, look)


class FaultRow:
    """One row. Changing the aim or the seconds of a fault that is on puts it in force anew."""

    def __init__(self, switches: Switches, fault: Fault) -> None:
        self._switches = switches
        self._fault = fault
        self._looking = False
        with ui.element("div").classes(f"stage-fault {'stage-wide' if fault.in_seconds else ''}"):
            self._switch = ui.switch(fault.label, value=switches.is_on(fault), on_change=self._changed)
            self._switch.props(f"dense color=negative data-testid=fault-{fault.kind}").tooltip(fault.says)
            self._seconds = self._slider() if fault.in_seconds else None
            self._aim = ui.select(list(AIMS), value=switches.aim(fault), on_change=self._changed)
            self._aim.props(f"dense options-dense borderless aria-label='what {fault.label} hits'")
            self._aim.props(f"data-testid=aim-{fault.kind}")
            self._hits = ui.label().props(f"data-testid=hits-{fault.kind}")
        self.look()

    def _slider(self) -> ui.slider:
        with ui.element("div").classes("stage-delay"):
            slider = ui.slider(min=0.5, max=10, step=0.5, value=2)
            slider.props("dense data-testid=delay-seconds aria-label='seconds of delay'").style("min-width: 60px")
            ui.label().bind_text_from(slider, "value", lambda seconds: f"{seconds:g} s")
            slider.on("change", self._changed, args=[])  # when it is let go
        return slider

    def _changed(self) -> None:
        if self._looking:
            return
        if self._switch.value:
            self._switches.put(self._fault, str(self._aim.value), float(self._seconds.value) if self._seconds else 0.0)
        elif self._switches.is_on(self._fault):
            self._switches.lift(self._fault)

    def look(self) -> None:
        """Show what is in force and how often it has hit."""
        on, hits = self._switches.is_on(self._fault), self._switches.hits(self._fault)
        self._looking = True
        if self._switch.value != on:
            self._switch.set_value(on)
        self._looking = False
        said = f"{hits} hit{'' if hits == 1 else 's'}" if on or hits else ""
        if self._hits.text != said:
            self._hits.set_text(said)
        colour = "stage-bad" if on else "stage-quiet"
        if colour not in self._hits.classes:
            self._hits.classes(replace=colour)
