"""How well the tests notice: seeds faults in product code and lists those that no test sees.

`python -m faults` draws faults at random from all that operators.py can make, and runs for each the tests that execute
the changed line. The share that survives estimates how many of tomorrow's slips would. Some survivors change nothing
that anyone could see; a reader has to judge that.
"""
