"""An attack on what reads and writes files: mutated embeddings and pictures, kills, and processes that race.

python -m tests.attack                                                          # small, as tests/core/test_attack.py
python -m tests.attack --files 122000 --pictures 1500 --kills 400 --races 150   # at size; about an hour

embeddings.py  embedding files, mutated, and the worst that we could think of by hand
pictures.py    pictures, mutated
processes.py   processes that save, rename and delete at once, or are killed
measure.py     processor time and memory of one call
"""
