"""One half of the census table, as a pod written in Python."""

from fl_app.pod.definition import CSVSource, Pod, PodDataConfig, PodDetailsConfig, Policy

pod = Pod(
    name="census-income-demo-dataset",
    datasource=CSVSource("census-income-demo-dataset.csv.gz", read_options={"na_values": ["?"]}),
    pod_details_config=PodDetailsConfig(
        display_name="Census income, first half",
        description="One half of the training rows of the Census Income table: who earned over 50,000 a year.",
    ),
    data_config=PodDataConfig(
        ignore_cols=["fnlwgt"],
        force_stypes={
            "categorical": [
                "TARGET",
                "workclass",
                "education",
                "marital-status",
                "occupation",
                "relationship",
                "race",
                "gender",
                "native-country",
            ],
        },
    ),
    approved_pods=["census-income-demo-dataset", "census-income-yaml-demo-dataset"],
    # Two pods are all there are here; with two, each can compute the other's update from the average.
    policy=Policy(minimum_cohort=2),
)

if __name__ == "__main__":
    pod.start()
