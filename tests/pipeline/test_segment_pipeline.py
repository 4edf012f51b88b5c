"""The pipeline of `segment/`: a stage for each batch, with a model at a revision, beside the one that trains."""

import json
import shutil

from project_copy import commit, run

BATCH = "batches:\n  heat42: {folder: inbox/heat 42, options: --pixel-size 0.05um --min-area 4px}\n"


def test_batches_are_segmented_with_the_model_of_a_revision_and_nothing_is_trained(project):
    # As it comes it has nothing to do, and does not disturb the pipeline that trains.
    run("dvc", "repro", "segment/dvc.yaml", cwd=project)
    assert "up to date" in run("dvc", "status", cwd=project).stdout

    params = project / "segment/params.yaml"
    params.write_text(params.read_text(encoding="utf-8").replace("batches: {}\n", BATCH), encoding="utf-8")
    shutil.copytree(project / "data/raw/images", project / "segment/inbox/heat 42")
    run("dvc", "add", "--quiet", "segment/inbox/heat 42", cwd=project)
    # With other parameters the training is out of date; the batch takes the committed model all the same.
    text = (project / "params.yaml").read_text(encoding="utf-8")
    (project / "params.yaml").write_text(text.replace("lr: 0.001", "lr: 0.002"), encoding="utf-8")
    done = run("dvc", "repro", "segment/dvc.yaml:segment@heat42", cwd=project)
    assert "Running stage 'train'" not in done.stdout
    results = project / "segment/results/heat42"
    assert (results / "report.html").is_file()
    summary = json.loads((project / "segment/metrics/heat42.json").read_text())
    assert summary == json.loads((results / "summary.json").read_text())
    assert summary["fields"] == 8
    commit(project, "a batch")

    (project / "segment/metrics/heat42.json").write_text(json.dumps(summary | {"fields": 9}))
    difference = run("dvc", "metrics", "diff", "--json", cwd=project).stdout
    assert json.loads(difference)["segment/metrics/heat42.json"]["fields"] == {"old": 8, "new": 9, "diff": 1}
