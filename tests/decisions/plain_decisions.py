"""The rules of decisions once more, class by class in Python's whole numbers: what numpy and C must give."""


def rounded(numerator: int, bits: int) -> int:
    """The nearest whole number of numerator / 2**bits, halves upwards."""
    return (2 * numerator + 2**bits) // 2 ** (bits + 1)


def decide(integers, levels):
    """For each decision what is said or on, and what fires: sets of classes."""
    classes = range(integers.count)
    averages = None
    said, on = (integers.background if integers.background >= 0 else None), set()
    run, run_of = 0, None
    runs = [0] * integers.count
    last = [None] * integers.count  # the decision of the last event of each class
    results = []
    for now, level in enumerate(levels):
        if now < integers.settling:
            results.append(({said} - {None} if integers.kind == "class" else set(), set()))
            continue
        level = [int(value) for value in level]
        if averages is None or integers.weight == 0:
            averages = level
        else:
            averages = [a + rounded((x - a) * integers.weight, 31) for a, x in zip(averages, level, strict=True)]
        sure = {c for c in classes if averages[c] > integers.thresholds[c]}
        released = {c for c in classes if averages[c] <= integers.releases[c]}
        if integers.kind == "class":
            likeliest = max(classes, key=lambda c: (averages[c], -c))
            times = [time for time in last if time is not None]
            rests = bool(times) and now - max(times) < integers.refractory
            wish = said
            if said is None:
                wish, changes = likeliest, True
            else:
                keeps = integers.holds and said not in released and said != integers.background
                if likeliest in sure and not keeps:
                    wish = likeliest
                elif integers.background >= 0 and likeliest not in sure and said in released:
                    wish = integers.background
                run = 0 if wish == said else run + 1 if wish == run_of else 1
                run_of = wish if wish != said else None
                changes = wish != said and run >= integers.confirmations and not rests
            if changes:
                said, run, run_of, last[wish] = wish, 0, None, now
            results.append(({said}, {said} if changes else set()))
            continue
        on -= released
        runs = [runs[c] + 1 if c in sure and c != integers.background else 0 for c in classes]
        ready = {c for c in classes if runs[c] >= integers.confirmations} - on
        if integers.kind == "labels":
            fired = {c for c in ready if last[c] is None or now - last[c] >= integers.refractory}
        else:
            times = [time for time in last if time is not None]
            rests = bool(times) and now - max(times) < integers.refractory
            fired = set() if rests or not ready else {max(ready, key=lambda c: (averages[c], -c))}
        for c in fired:
            last[c] = now
        on |= fired
        results.append((set(on), fired))
    return results
