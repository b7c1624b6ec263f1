// The code is in the fragment, which no server sees; it leaves the address and the history at once.
const said = document.getElementById("said");
const code = location.hash.slice(1);
const wanted = new URLSearchParams(location.search).get("next") ?? "";
history.replaceState(null, "", location.pathname + location.search);

function onward(home) {
  const target = URL.canParse(wanted, location.origin) ? new URL(wanted || home, location.origin) : null;
  location.replace(target?.origin === location.origin && target.protocol === location.protocol ? target.href : home);
}

async function logIn() {
  if (!code) {
    // A link from elsewhere comes without the session's cookie; from here it goes along.
    const session = await fetch("/login/session");
    if (session.status === 204) onward("/");
    return;
  }
  const answer = await fetch("/login", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ code }),
  });
  if (answer.ok) onward((await answer.json()).home);
  else said.textContent = (await answer.text()).trim();
}

logIn().catch(() => { said.textContent = "The hub does not answer."; });
