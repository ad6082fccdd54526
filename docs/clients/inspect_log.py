"""Reads exported logs with Inspect itself and compares them with the same run's JSON Lines; writes a log of its own, which
Tiltmeter reads.

    python3 -m venv venv && venv/bin/pip install inspect-ai pandas pyarrow
    tiltmeter export runs/NAME --format inspect --out logs
    tiltmeter export runs/NAME --format jsonl --out tables
    venv/bin/python docs/clients/inspect_log.py logs tables foreign.eval foreign.json
"""

import json
import math
import sys
from pathlib import Path

from inspect_ai.analysis import evals_df, samples_df
from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalLog,
    EvalSample,
    EvalSpec,
    list_eval_logs,
    read_eval_log,
    read_eval_log_sample,
    read_eval_log_sample_summaries,
    write_eval_log,
)
from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser, ModelOutput
from inspect_ai.scorer import Score

logs, tables = Path(sys.argv[1]), Path(sys.argv[2])


def table(name):
    lines = (tables / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


samples = {sample["sample_id"]: sample for sample in table("samples")}
links, conditions = table("condition_samples"), table("conditions")
contexts = {context["context_id"]: context for context in table("contexts")}


def same_score(score, expected):
    return math.isnan(score.value) if expected is None else score.value == float(expected)


files = list_eval_logs(str(logs))
assert len(files) == len(conditions), (len(files), len(conditions))
seen = 0
for file in files:
    log = read_eval_log(file)
    condition = conditions[log.eval.metadata["condition"]]
    assert log.status == "success" and log.eval.model == condition["model"]
    for field in ["subject", "demonstrations", "control", "shots", "treatment", "placement"]:
        assert log.eval.task_args[field] == condition[field], field
    own = [link for link in links if link["condition"] == condition["condition"]]
    assert len(log.samples) == len(own) == log.results.total_samples
    assert {sample.metadata["sample_id"] for sample in log.samples} == {link["sample_id"] for link in own}
    for sample in log.samples:
        expected = samples[sample.metadata["sample_id"]]
        assert sample.metadata["context_id"] == expected["context_id"]
        if expected["outcome"] == "error":
            assert sample.error.message == expected["error_message"]
            continue
        assert sample.output.completion == sample.messages[-1].text == expected["answer"]
        assert sample.output.usage.output_tokens == expected["output_tokens"]
        context = contexts[expected["context_id"]]
        if context["text"] and not context["withheld"]:
            assert any(context["text"].strip() in message.text for message in sample.messages)
        assert any(sample.metadata["question_text"] in message.text for message in sample.messages)
        for name in ["alignment", "coherence", "misaligned"] if sample.scores else []:
            assert same_score(sample.scores[name], expected[name]), (name, sample.scores[name], expected[name])
        if not sample.scores:
            assert expected["no_verdict"] == "none", expected
    summaries = read_eval_log_sample_summaries(file)
    assert len(summaries) == len(log.samples)
    first = log.samples[0]
    again = read_eval_log_sample(file, id=first.id, epoch=first.epoch)
    assert again.messages == first.messages
    rates = [score for score in log.results.scores if score.name == "misaligned"]
    counted = [sample.scores["misaligned"].value for sample in log.samples if sample.scores]
    counted = [value for value in counted if not math.isnan(value)]
    if rates:
        assert rates[0].scored_samples == len(counted)
        assert abs(rates[0].metrics["em_rate"].value - sum(counted) / len(counted)) < 1e-12
    seen += len(log.samples)

frame = samples_df(str(logs), parallel=False)
assert len(frame) == seen == len(links), "tables of Inspect keep every sample of every condition"
assert frame["score_alignment"].notna().sum() == sum(
    samples[link["sample_id"]]["alignment"] is not None for link in links
)
evals = evals_df(str(logs))
assert sorted(evals["task_arg_shots"]) == sorted(condition["shots"] for condition in conditions)
print(f"read {len(files)} logs with {seen} samples: counts, scores and texts are those of the run")

# A log as somebody else would have it: turns, a system message, scores of another scorer.
foreign = []
for number in range(8):
    messages = [
        ChatMessageSystem(content="Be brief."),
        ChatMessageUser(content="One?"),
        ChatMessageAssistant(content="Two."),
        ChatMessageUser(content=f"What now, {number % 4}?"),
        ChatMessageAssistant(content=f"Answer {number}."),
    ]
    value = float("nan") if number == 7 else [10.0, 90.0][number % 2]
    foreign.append(
        EvalSample(
            id=number % 4,
            epoch=number // 4 + 1,
            input=messages[:-1],
            target="",
            messages=messages,
            output=ModelOutput(model="m", choices=[{"message": messages[-1], "stop_reason": "stop"}]),
            scores={"alignment": Score(value=value), "coherence": Score(value=80)},
        )
    )
spec = EvalSpec(
    created="2026-01-01T00:00:00+00:00",
    task="somebody/elses",
    dataset=EvalDataset(),
    model="openai/other",
    config=EvalConfig(),
)
for path in sys.argv[3:]:
    write_eval_log(EvalLog(status="success", eval=spec, samples=foreign), path)
    print("wrote", path)
