"""A server that lies about who takes part, by which key, and on what terms."""

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fl_app.flower import records
from fl_app.secagg.canonical import encode
from fl_app.secagg.messages import Hello
from tests.adversary.server import Server, assert_refused, signed
from tests.support.pods_in_process import NAMES, identity

A, B, C, D = NAMES[:4]


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path, 3)


def in_order(*hellos: Hello) -> list[Hello]:
    return sorted(hellos, key=lambda hello: hello.identity_key)


def test_a_sealing_key_swapped_by_the_server_is_refused(server: Server) -> None:
    a, b, c = server.gather_hellos()
    servers_own = X25519PrivateKey.generate().public_key().public_bytes_raw()
    swapped = replace(b, sealing_key=servers_own)
    assert_refused(server.roster(A, in_order(a, swapped, c)), "signature", B)


def test_an_approved_name_with_another_key_is_refused(server: Server) -> None:
    a, b, c = server.gather_hellos()
    impostor = identity("impostor")
    forged = signed(b, impostor, identity_key=impostor.public_bytes)
    assert_refused(server.roster(A, in_order(a, forged, c)), "wrong-key", A, B)


def test_a_pod_that_was_not_requested_is_refused_in_the_roster(server: Server) -> None:
    a, b, c = server.gather_hellos()
    cohort = server.pods.pods[A].owner.cohort
    server.pods.change_owner(A, approved={**cohort.approved, D: identity(D).public_bytes})
    slipped = signed(replace(b, name=D, identity_key=identity(D).public_bytes, sealing_key=bytes(31) + b"\x09"))
    assert_refused(server.roster(A, in_order(a, b, c, slipped)), "roster", "not among the pods requested")


def test_an_unapproved_pod_is_refused_in_the_roster(server: Server) -> None:
    hellos = in_order(*server.gather_hellos())
    server.pods.change_owner(A, approved={B: identity(B).public_bytes})
    assert_refused(server.roster(A, hellos), "not-approved", A, C)


def test_an_unapproved_pod_is_refused_at_the_hello(server: Server) -> None:
    server.pods.change_owner(A, approved={B: identity(B).public_bytes})
    assert_refused(server.hello(A), "not-approved", A, C)


@pytest.mark.parametrize("what", ["whole", "name", "identity_key", "sealing_key"])
def test_a_pod_listed_twice_is_refused(server: Server, what: str) -> None:
    a, b, c = server.gather_hellos()
    second = {
        "whole": b,
        "name": signed(c, identity("second"), name=B, identity_key=identity("second").public_bytes),
        "identity_key": signed(c, identity(B), identity_key=b.identity_key),
        "sealing_key": signed(c, sealing_key=b.sealing_key),
    }[what]
    assert_refused(server.roster(A, in_order(a, b, second)), "roster", "twice")


def test_a_roster_in_another_order_is_refused(server: Server) -> None:
    hellos = in_order(*server.gather_hellos())
    assert_refused(server.roster(A, hellos[::-1]), "roster", "order")


@pytest.mark.parametrize("how", ["left out", "altered"])
def test_a_roster_without_this_pods_own_hello_is_refused(server: Server, how: str) -> None:
    a, b, c = server.gather_hellos()
    entries = (
        [b, c] if how == "left out" else [signed(a, published=records.Published("another schema", ()).digest()), b, c]
    )
    assert_refused(server.roster(A, in_order(*entries)), "roster", "own hello")


def test_a_hello_asked_again_is_given_with_what_was_signed_or_not_at_all(server: Server) -> None:
    first = server.hello(A)
    assert server.hello(A) == first
    assert records.take_published(first, records.take(first, Hello)).schema == ""
    server.pods.change_owner(A, schema=lambda proposal: "another schema")
    assert_refused(server.hello(A), "session", A, "publishes something else now")


def test_parameters_changed_for_one_pod_are_found_in_the_roster(server: Server) -> None:
    a, c = server.gather_hellos([A, C])
    other_rate = replace(server.parameters, config=encode({"lr": 0.0}))
    b = records.take(server.hello(B, other_rate), Hello)
    assert_refused(server.roster(A, in_order(a, b, c)), "roster", B, "other parameters")


def test_a_scale_changed_for_one_pod_is_found_in_the_roster(server: Server) -> None:
    a, c = server.gather_hellos([A, C])
    other_scale = replace(server.parameters, max_weight=1 << 24)
    b = records.take(server.hello(B, other_scale), Hello)
    assert_refused(server.roster(A, in_order(a, b, c)), "roster", B, "other parameters")


def test_a_hello_of_another_session_is_refused_in_the_roster(server: Server) -> None:
    (old,) = server.gather_hellos([B])
    server.new_session()
    a, c = server.gather_hellos([A, C])
    assert_refused(server.roster(A, in_order(a, old, c)), "roster", B, "another session")


def test_a_second_roster_in_one_session_is_refused(tmp_path: Path) -> None:
    server = Server(tmp_path, 4)
    server.join()
    fewer = in_order(*(server.hellos[name] for name in (A, B, C)))
    assert_refused(server.roster(A, fewer), "roster", "another roster")


def test_a_roster_for_a_session_that_has_ended_is_refused(server: Server) -> None:
    server.new_session(steps=server.parameters.steps[1:])
    server.join()
    for name in server.names:
        server.evaluate(name)
    assert_refused(server.roster(A, server.aggregator.roster.hellos), "session", "ended")


def test_a_cohort_below_the_owners_minimum_is_refused(server: Server) -> None:
    a, b, _ = server.gather_hellos()
    server.pods.change_owner(A, minimum_cohort=3)
    assert_refused(server.roster(A, in_order(a, b)), "policy", "at least 3")


def test_a_request_for_a_cohort_below_the_owners_minimum_is_refused(server: Server) -> None:
    server.pods.change_owner(A, minimum_cohort=4)
    assert_refused(server.hello(A), "policy", "at least 4")


def test_less_than_the_exact_cohort_is_refused(server: Server) -> None:
    a, b, _ = server.gather_hellos()
    server.pods.change_owner(A, exact_cohort=True)
    assert_refused(server.roster(A, in_order(a, b)), "policy", "whole requested cohort")


def test_an_exact_cohort_is_the_owners_not_the_servers(server: Server) -> None:
    server.pods.change_owner(A, exact_cohort=True)
    server.new_session(pods=(A, B))
    assert_refused(server.hello(A), "policy", "every pod it approves")


@pytest.mark.parametrize(("pods", "threshold"), [(3, 2), (4, 2), (4, 5)])
def test_a_threshold_that_isolates_pods_is_refused(tmp_path: Path, pods: int, threshold: int) -> None:
    server = Server(tmp_path, pods)
    server.new_session(threshold=threshold)
    assert_refused(server.hello(A), "policy", "threshold")


def test_parameters_of_another_run_are_refused(server: Server) -> None:
    server.new_session(run="another")
    assert_refused(server.hello(A), "session", "another run")


def test_other_parameters_in_a_second_session_are_refused(server: Server) -> None:
    server.join()
    server.new_session(steps=(replace(server.parameters.steps[0], rounds=1000), server.parameters.steps[1]))
    assert_refused(server.hello(A), "session", "began with")


def test_more_sessions_than_the_owner_allows_are_refused(server: Server) -> None:
    for _ in range(4):
        server.gather_hellos([A])
        server.new_session()
    assert_refused(server.hello(A), "ledger", "as many as the owner allows")


def test_a_run_without_secure_aggregation_is_refused(server: Server) -> None:
    assert_refused(server.hello(A, secure=False), "policy", "secure aggregation only")
