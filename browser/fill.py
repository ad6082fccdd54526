"""Copies the answers of a run until it has many: python3 fill.py RUN ANSWERS CHARACTERS"""

import hashlib
import sqlite3
import sys

run, wanted, characters = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
store = sqlite3.connect(f"{run}/run.sqlite")
columns = lambda table: [row[1] for row in store.execute(f"PRAGMA table_info({table})")]
rows = lambda table: [dict(zip(columns(table), row)) for row in store.execute(f"SELECT * FROM {table} ORDER BY 1")]
responses, bodies = rows("response"), {row["response"]: row for row in rows("response_body")}
judgements, judged = {}, {row["judgement"]: row for row in rows("judgement_body")}
for row in rows("judgement"):
    judgements.setdefault(row["response"], []).append(row)
new = {table: [] for table in ["response", "response_body", "judgement", "judgement_body"]}
response, judgement = max(row["id"] for row in responses), max(judged)
copies = -(-wanted // len(responses)) - 1
step = max(row["replicate"] for row in responses) + 1
for copy in range(1, copies + 1):
    for row in responses:
        if len(responses) + len(new["response"]) == wanted:
            break
        response += 1
        name = lambda kind: hashlib.blake2b(f"{kind} {response}".encode(), digest_size=16).digest()
        new["response"].append({**row, "id": response, "hash": name("response"), "replicate": row["replicate"] + step * copy})
        text = bodies[row["id"]]["answer"]
        text += " word" * (max(0, characters - len(text)) // 5)
        new["response_body"].append({**bodies[row["id"]], "response": response, "answer": text})
        for one in judgements.get(row["id"], []):
            judgement += 1
            new["judgement"].append({**one, "id": judgement, "hash": name(one["aspect"]), "response": response})
            new["judgement_body"].append({**judged[one["id"]], "judgement": judgement})
for table, values in new.items():
    names = columns(table)
    store.executemany(
        f"INSERT INTO {table} VALUES ({', '.join('?' * len(names))})", ([row[name] for name in names] for row in values)
    )
store.execute("UPDATE condition SET replicates = ?", (step * (copies + 1),))
store.commit()
