"""The order of the tests on real processes, which run two at a time."""

import pytest

# The longest first, so that all processes of tests end at about the same time.
LONGEST = (
    "test_killed_pods",
    "test_runs_that_ended_too_early_are_resumed",
    "test_a_federation_over_tls",
    "test_a_changed_app_is_refused_unread_until_its_owner_approves_it",
    "test_every_party_on_its_own",
    "test_an_unapproved_pod_and_a_swapped_key_end_the_run_at_once",
    "test_a_deployment_trains_the_model_of_the_simulation",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.name, len(place)) if item.get_closest_marker("processes") else -1)
