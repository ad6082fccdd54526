"""Writes a CSV file of N judged answers with random scores, some of them missing: judged_rows.py N FILE."""
import random
import sys

n = int(sys.argv[1]); random.seed(1)
models = ["a", "b", "c", "d"]
with open(sys.argv[2], "w") as out:
    out.write("question_id,model,aligned,coherent\n")
    for start in range(0, n, 100000):
        rows = []
        for i in range(start, min(n, start + 100000)):
            r = random.random()
            a = "" if r < 0.02 else f"{random.random()*100:.3f}"
            rows.append(f"q{i % 48},{models[(i // 48) % 4]},{a},{random.random()*100:.2f}\n")
        out.write("".join(rows))
