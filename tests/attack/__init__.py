r"""An attack: mutated files, kills and processes that race; and an encoder that is lent amid faults and threads.

python -m tests.attack    # small, as in tests/core
python -m tests.attack --files 122000 --pictures 1500 --kills 400 --races 150 \
    --faults 4200 --interrupts 1000 --threads 1000    # at size; some twenty minutes of one processor

embeddings.py  embedding files, mutated, and the worst that we could think of by hand
pictures.py    pictures, mutated
processes.py   processes that save, rename and delete at once, or are killed
encoder.py     a text encoder: faults at operations of torch, interrupts at lines of ours, threads
measure.py     processor time and memory of one call
"""
