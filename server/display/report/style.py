"""How the page looks: one column on a phone, two on a desk, light or dark as the reader's system is."""

PALETTE = {
    "ink": ("#1b2430", "#e6eaf0"),
    "muted": ("#5b6675", "#9aa6b5"),
    "line": ("#d9dee6", "#333c49"),
    "page": ("#f5f6f8", "#12161c"),
    "card": ("#ffffff", "#1a2028"),
    "first": ("#1766b3", "#6cb2f5"),
    "second": ("#b3540e", "#f0a35e"),
    "third": ("#1a7f52", "#5fcf9b"),
    "fourth": ("#8a3fa0", "#d194e3"),
    "fifth": ("#a8324a", "#f28b9c"),
    "sixth": ("#4d6b12", "#b3d165"),
    "good": ("#17693f", "#67d39c"),
    "bad": ("#a32638", "#ff8f9f"),
}
"""Name -> its colour in light and in dark."""


def _variables(which: int) -> str:
    return "".join(f"--{name}:{colours[which]};" for name, colours in PALETTE.items())


STYLE = (
    f":root{{color-scheme:light dark;{_variables(0)}}}"
    f"@media(prefers-color-scheme:dark){{:root{{{_variables(1)}}}}}"
    """
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",sans-serif;-webkit-text-size-adjust:100%}
main{max-width:1120px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:1.7rem;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:0 0 12px}
h3{font-size:.95rem;margin:20px 0 8px}
p{margin:0 0 12px;max-width:75ch}
.lead,figcaption,.note,dt{color:var(--muted)}
figcaption,.note{font-size:.875rem}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:20px 24px;margin:20px 0}
section>:last-child,figure>:last-child{margin-bottom:0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(128px,1fr));gap:12px;margin:20px 0}
.tiles div{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 16px}
.tiles b{display:block;font-size:1.6rem;line-height:1.2;font-variant-numeric:tabular-nums}
.tiles span{color:var(--muted);font-size:.875rem}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:24px}
figure{margin:0;min-width:0}
figure h3{margin-top:0}
svg{display:block;width:100%;height:auto}
svg text{font-family:inherit!important}
.wide{overflow-x:auto;margin:0 0 12px;max-width:100%;background:
linear-gradient(to left,var(--card) 40%,transparent) right/48px 100% no-repeat local,
linear-gradient(to left,var(--line),transparent) right/14px 100% no-repeat scroll}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:6px 14px 6px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
thead th{color:var(--muted);font-weight:500;white-space:nowrap;vertical-align:bottom}
tbody th{font-weight:500;min-width:9rem}
tbody tr:last-child>*{border-bottom:0}
td.number{text-align:right;white-space:nowrap}
.figures thead th:not(:first-child),.steps thead th:not(:first-child){text-align:right}
.figures tbody th{white-space:nowrap}
.steps tbody th,.matrix tbody th{min-width:0}
.full{width:100%}
.bar{position:relative;display:block;min-width:88px;padding-bottom:5px}
.bar i{position:absolute;right:0;bottom:0;height:3px;border-radius:2px;background:var(--first)}
.matrix td,.matrix th{padding:8px 14px;border:1px solid var(--line)}
.matrix tbody tr:last-child>*{border-bottom:1px solid var(--line)}
.matrix td{text-align:center;background:color-mix(in srgb,var(--first) calc(var(--share,0)*55%),transparent)}
.matrix small{display:block;color:inherit;opacity:.8}
.yes{color:var(--good)}.no{color:var(--bad)}
.status{display:inline-block;border:1px solid;border-radius:999px;padding:1px 12px;font-size:.875rem;font-weight:500}
.error{border-left:4px solid var(--bad);padding-left:12px;overflow-wrap:anywhere}
code{font:.85em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,var(--cell,230px)),1fr));gap:10px 24px;margin:0}
dt{font-size:.875rem}dd{margin:0;overflow-wrap:anywhere}
ul{margin:0 0 12px;padding-left:20px}li{overflow-wrap:anywhere}
details{margin-top:12px}summary{cursor:pointer;color:var(--first)}
footer{color:var(--muted);font-size:.875rem;margin-top:24px}
@media(max-width:600px){main{padding:20px 12px 40px}section{padding:16px;border-radius:8px}h1{font-size:1.35rem}
.tiles{grid-template-columns:1fr 1fr;gap:8px}.tiles div:last-child{grid-column:1/-1}dl{--cell:130px}
.bar{min-width:56px}
.stack thead{display:none}.stack tr,.stack th,.stack td,.stack td.number{display:block;text-align:left}
.stack tr{padding:10px 0;border-bottom:1px solid var(--line)}.stack tr:last-child{border:0}
.stack th,.stack td{border:0;padding:0}.stack td{color:var(--muted);font-size:.875rem}
.stack td::before{content:attr(data-head)": "}.stack code{color:var(--ink)}}
@media print{body{background:none}section{break-inside:avoid}}
"""
)
