"""The order of the tests on real processes, which run four at a time."""

import pytest

# The longest first, so that all processes of tests end at about the same time.
LONGEST = (
    "test_the_modellers_page",
    "test_killed_pods",
    "test_a_pod_is_fit_for_the_next_message_whatever_became_of_the_last",
    "test_the_readme_and_then_the_quick_start",
    "test_runs_spend_an_owners_budget_and_no_more",
    "test_runs_that_ended_too_early_are_resumed",
    "test_every_party_on_its_own",
    "test_the_page_on_tuning",
    "test_the_page_on_numbers",
    "test_a_deployment_trains_the_model_of_the_simulation",
    "test_a_federation_over_tls",
    "test_a_changed_app_is_refused_unread_until_its_owner_approves_it",
    "test_over_a_deployment",
    "test_killed_then_refused_then_completed",
    "test_ray_takes_longer_to_start_than_it_would_wait_itself",
    "test_pods_that_vanish",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.name, len(place)) if item.get_closest_marker("processes") else -1)
