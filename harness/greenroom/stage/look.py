"""The page's own style. Every colour has a word or a letter beside it; light and dark have their own values."""

from __future__ import annotations

EVERY_S = 0.35  # how often a pane looks whether there is something new

CSS = """
body { --ground: #f4f5f7; --card: #ffffff; --line: #d5d9e0; --text: #1c2430; --quiet: #5b6677;
        --good: #14733b; --warn: #8a5300; --bad: #b3261e; --accent: #1f5fbf; }
body.body--dark { --ground: #14171c; --card: #1d2229; --line: #38414d; --text: #e6e9ee; --quiet: #a3adba;
        --good: #63d48d; --warn: #f0b357; --bad: #ff8f85; --accent: #8ab8ff; }
body { --q-primary: var(--accent) !important; --q-negative: var(--bad) !important; --q-positive: #14733b !important;
       background: var(--ground); color: var(--text); }
.nicegui-content { padding: 0; gap: 0; }
.stage { display: grid; width: 100vw; height: 100vh; gap: 8px; padding: 8px; box-sizing: border-box;
         grid-template: "head head" auto "left right" minmax(0, 1fr) "below below" auto
                        / minmax(0, 1fr) minmax(0, 1fr); }
.stage-head { grid-area: head; display: flex; align-items: center; gap: 12px; flex-wrap: wrap; }
.stage-left { grid-area: left; } .stage-right { grid-area: right; } .stage-below { grid-area: below; }
.stage-card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px;
              min-height: 0; min-width: 0; overflow: hidden; display: flex; flex-direction: column; gap: 6px; }
.stage-card.stage-left { overflow: auto; }
.stage-below { display: grid; grid-template-columns: auto auto minmax(0, 1fr) auto; gap: 8px 28px; }
body.body--dark .q-btn.bg-primary.text-white { color: #14171c !important; }
.stage h2 { font-size: 13px; font-weight: 600; line-height: 1.4; margin: 0; color: var(--quiet); }
.stage-row { display: flex; align-items: center; gap: 8px; flex-wrap: wrap; }
.stage-buttons { display: grid; grid-template-columns: repeat(3, auto); gap: 6px; justify-content: start; }
.stage-faults { display: grid; gap: 2px 20px; align-items: center;
                grid-template-columns: repeat(auto-fill, minmax(280px, 1fr)); }
.stage-fault { display: grid; gap: 6px; align-items: center;
               grid-template-columns: minmax(max-content, 1fr) 76px 52px; }
.stage-fault .q-toggle { white-space: nowrap; }
.stage-fault :is(.q-field__control, .q-field__native, .q-field__marginal) { min-height: 28px; height: 28px; }
.stage-delay { display: flex; align-items: center; gap: 10px; padding-left: 10px; }
.stage-delay > :last-child { width: 40px; white-space: nowrap; }
.stage-fault.stage-wide { grid-column: 1 / -1; grid-template-columns: auto minmax(60px, 1fr) 76px 52px; }
.stage-quiet { color: var(--quiet); } .stage-good { color: var(--good); }
.stage-warn { color: var(--warn); } .stage-bad { color: var(--bad); }
.stage-chip { border: 1px solid currentColor; border-radius: 999px; padding: 1px 10px; font-weight: 600; }
.stage-lines { flex: 1; min-height: 0; width: 100%; font: 12px/1.5 ui-monospace, monospace; overflow: auto;
               border: 1px solid var(--line); border-radius: 6px; padding: 4px 6px; background: var(--ground); }
.stage-lines .line { white-space: pre-wrap; overflow-wrap: anywhere; }
.stage-lines .wire { white-space: pre; cursor: pointer; width: max-content; min-width: 100%; }
.stage-lines .wire:hover { background: var(--line); } .stage-lines .wire:focus { outline: 2px solid var(--accent); }
.line.warning, .wire.slow, .wire.faulty { color: var(--warn); } .line.debug { color: var(--quiet); }
.line.error, .wire.refused, .wire.unanswered { color: var(--bad); } .wire.open { color: var(--quiet); }
.stage-whole { white-space: pre-wrap; overflow-wrap: anywhere; font: 12px/1.5 ui-monospace, monospace; }
.stage .q-tab-panel { padding: 6px 0 0; height: 100%; display: flex; flex-direction: column; gap: 6px; }
.stage .q-tab-panels { flex: 1; min-height: 0; background: transparent; width: 100%; }
.stage .q-tab { min-height: 32px; text-transform: none; } .stage .q-btn { text-transform: none; }
@media (max-width: 1100px) {
  .stage { grid-template: "head" auto "left" 70vh "right" 70vh "below" auto / minmax(0, 1fr); height: auto; }
  .stage-below { grid-template-columns: 1fr; } .stage-faults { grid-template-columns: 1fr; }
}
"""
