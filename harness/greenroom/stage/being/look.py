"""The style of the people on the page. The colours are those of the page, which stand in `greenroom.stage.look`."""

from __future__ import annotations

CSS = """
.stage-people { display: flex; gap: 8px; flex: 1; min-height: 0; width: 100%; overflow-x: auto; }
.stage-who { flex: 1 1 0; min-width: 300px; min-height: 0; display: flex; flex-direction: column; gap: 6px;
             border: 1px solid var(--line); border-radius: 8px; padding: 8px; }
.stage-title { font-weight: 700; }
.stage-rooms { flex: none; max-height: 30%; overflow: auto; border: 1px solid var(--line); border-radius: 6px; }
.stage-room { display: flex; gap: 6px; align-items: baseline; width: 100%; padding: 2px 8px;
              cursor: pointer; text-align: left; background: none; border: 0; color: inherit; font: inherit; }
.stage-room:hover { background: var(--ground); }
.stage-room[aria-current=true] { background: var(--ground); font-weight: 700; box-shadow: inset 3px 0 0 var(--accent); }
.stage-room:focus-visible, .stage-more:focus-visible { outline: 2px solid var(--accent); outline-offset: -2px; }
.stage-mark { font-size: 11px; color: var(--quiet); white-space: nowrap; font-weight: 400; }
.stage-new { font-size: 11px; font-weight: 700; color: var(--accent); white-space: nowrap; }
.stage-clip { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; min-width: 0; }
.stage-invite { display: flex; flex-wrap: wrap; gap: 6px; align-items: center; padding: 4px 8px;
                background: var(--ground); border-bottom: 1px solid var(--line); }
.stage-talk { flex: 1; min-height: 90px; overflow: auto; display: flex; flex-direction: column-reverse; }
.stage-events { display: flex; flex-direction: column; gap: 2px; padding: 2px 0; }
.stage-event { position: relative; border-radius: 6px; padding: 2px 6px; border-left: 3px solid transparent; }
.stage-event:hover, .stage-event:focus-within { background: var(--ground); }
.stage-event.own { border-left-color: var(--accent); }
.stage-event.change { color: var(--quiet); font-size: 12px; }
.stage-meta { display: flex; gap: 8px; align-items: baseline; font-size: 12px; color: var(--quiet); flex-wrap: wrap; }
.stage-meta .sender { font-weight: 700; color: var(--text); font-size: 13px; }
.stage-text { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.4; }
.stage-text.notice { color: var(--quiet); } .stage-text.emote, .stage-text.removed { font-style: italic; }
.stage-text.removed { color: var(--quiet); }
.stage-quote { border-left: 2px solid var(--line); padding-left: 6px; font-size: 12px; color: var(--quiet);
               overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.stage-reactions { display: flex; gap: 4px; flex-wrap: wrap; }
.stage-reaction { border: 1px solid var(--line); border-radius: 999px; padding: 0 8px; font-size: 12px;
                  background: none; color: inherit; cursor: pointer; }
.stage-more { margin-left: auto; background: none; border: 0; color: var(--quiet); cursor: pointer; font-weight: 700;
              padding: 0 6px; border-radius: 4px; line-height: 1; }
.stage-acts { display: flex; gap: 4px; flex-wrap: wrap; align-items: center; padding: 2px 0; }
.stage-problem { color: var(--bad); font-weight: 600; }
"""
