"""The page of a federation: pods are asked when somebody asks, and what they publish is shown with what is wrong."""

import threading
from pathlib import Path

import pytest

from fl_app.errors import RunFailed, UsageError
from fl_app.federation.kinds import Federation
from fl_app.hub.role import Role
from fl_app.tabular.schema import Column, Schema
from server.app.results import Results, StepProgress
from server.hub.look import Follow, Look
from server.hub.modeller import modeller_role
from server.modeller.schema_discovery import PodInfo, Published
from tests.server.display.test_report import Page
from tests.server.hub.conftest import Visitor, Work

EVIL = "<script>alert(1)</script>\x1b[2J"


def told(text: str) -> str:
    main = text[text.index("<main") : text.index("</main>")] + "</main>"
    return " ".join(Page(main).text.split())


def hub_of(work: Work, look: Look) -> Visitor:
    return Visitor(modeller_role(work.federation, work.runs, look))


def pod(name: str, *columns: Column, approves: tuple[str, ...] = ()) -> PodInfo:
    return PodInfo(Schema(name=name, columns=columns), f"SHA256:{name}", approves, None, None, {"fl-app": "1"})


def answered(work: Work, *pods: PodInfo, problems: tuple[str, ...] = ()) -> Visitor:
    published = Published({info.schema.name: info for info in pods}, problems)
    look = Look(work.federation, lambda federation, follow: published, lambda: 0.0)
    look.start().join()
    return hub_of(work, look)


AGE = Column(name="age", kind="continuous", low=0, high=100)
OUTCOME = Column(name="outcome", kind="categorical", values=("no", "yes"))


def test_no_page_asks_the_pods_by_itself(work: Work) -> None:
    asked: list[Federation] = []

    def ask(federation: Federation, follow: Follow) -> Published:
        asked.append(federation)
        return Published({})

    text = hub_of(work, Look(work.federation, ask)).page("/modeller/")
    assert asked == []
    assert "not asked yet" in text
    assert "north" in text


def test_the_button_asks_real_pods_and_shows_what_they_publish(work: Work) -> None:
    look = Look(work.federation)
    visitor = hub_of(work, look)
    answer = visitor.press("/modeller/ask")
    assert (answer.status_code, answer.headers["location"]) == (303, "/modeller/")
    for thread in threading.enumerate():
        if thread.name == "asking the pods":
            thread.join(120)
    text = told(visitor.page("/modeller/"))
    assert "These pods can train together fl-app fit" in text
    assert "colour" in text
    assert "north answered SHA256:" in text


def test_while_pods_are_asked_the_page_says_of_whom_and_asks_no_second_time(work: Work) -> None:
    waiting, goes_on = threading.Event(), threading.Event()

    def ask(federation: Federation, follow: Follow) -> Published:
        follow(Results(step=StepProgress(name="hello", waiting=("south",))))
        waiting.set()
        goes_on.wait(60)
        return Published({"north": pod("north", AGE)})

    look = Look(work.federation, ask)
    visitor = hub_of(work, look)
    assert visitor.press("/modeller/ask").status_code == 303
    waiting.wait(60)
    text = visitor.page("/modeller/")
    assert "Waiting for south." in text
    assert "disabled" in text
    assert visitor.press("/modeller/ask").status_code == 409
    with pytest.raises(UsageError, match="asked already"):
        look.start()
    goes_on.set()


def test_a_question_without_the_form_of_this_session_asks_nobody(work: Work) -> None:
    look = Look(work.federation, lambda federation, follow: Published({}))
    visitor = hub_of(work, look)
    assert visitor.ask("POST", "/modeller/ask", data={"form": "0" * 64}).status_code == 403
    assert look.state.published is None
    assert look.state.asking is None


def test_why_pods_could_not_be_asked_is_shown_beside_what_they_answered_before(work: Work) -> None:
    answers = [Published({"north": pod("north", AGE)}), RunFailed(f"no pod answers {EVIL}")]

    def ask(federation: Federation, follow: Follow) -> Published:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    look = Look(work.federation, ask)
    for _ in range(2):
        look.start().join()
    text = hub_of(work, look).page("/modeller/")
    assert "The pods could not be asked" in text
    assert "no pod answers &lt;script&gt;" in text
    assert "SHA256:north" in text


def test_what_keeps_pods_from_training_is_said_with_what_its_owner_would_type(work: Work) -> None:
    weight = Column(name="weight", kind="categorical", values=("a",))
    number = Column(name="weight", kind="continuous", low=0, high=9)
    visitor = answered(
        work, pod("north", OUTCOME, weight, approves=("south",)), pod("south", OUTCOME, number), problems=("a node",)
    )
    text = told(visitor.page("/modeller/"))
    assert "What keeps these pods from training together" in text
    assert "south does not approve north" in text
    assert "fl-app pod approve north north.card --pod south.yaml" in text
    assert "a node" in text
    assert "does not fit" in text
    assert "--kind" in text


def test_a_pod_that_did_not_answer_is_named(work: Work) -> None:
    text = told(answered(work, pod("north", OUTCOME, AGE)).page("/modeller/"))
    assert "south did not answer" in text
    assert "whom it approves is not known" in text
    assert "One pod alone" in text


def test_another_column_can_be_predicted_by_the_address(work: Work) -> None:
    both = (pod("north", OUTCOME, AGE, approves=("south",)), pod("south", OUTCOME, AGE, approves=("north",)))
    visitor = answered(work, *both)
    assert "fl-app fit --target age" in told(visitor.page("/modeller/?target=age"))
    assert "no pod has a column" in told(visitor.page("/modeller/?target=nothing"))
    assert "No column to predict is chosen" in told(visitor.page("/modeller/?target="))


def test_what_pods_publish_is_text(work: Work) -> None:
    evil = Column(name=EVIL, kind="categorical", values=(EVIL, "b"))
    here = PodInfo(Schema(name="north", columns=(evil, OUTCOME)), EVIL, (EVIL,), EVIL, EVIL, {EVIL: EVIL})
    visitor = answered(work, here, pod("south", OUTCOME), problems=(EVIL,))
    for path in ("/modeller/", "/modeller/?target=%3Cscript%3Ealert(1)%3C/script%3E%1b[2J"):
        text = visitor.page(path)
        assert text.count("<script") == 1
        assert "\x1b" not in text


def test_names_of_commands_carry_the_options_of_the_hub(work: Work, tmp_path: Path) -> None:
    look = Look(work.federation, lambda federation, follow: Published({}))
    role: Role = modeller_role(work.federation, tmp_path / "my runs", look, ["--runs", str(tmp_path / "my runs")])
    assert f"fl-app fit --runs &#39;{tmp_path}/my runs&#39;" in Visitor(role).page("/modeller/runs")
