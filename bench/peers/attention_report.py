"""Lines, tables and pictures of what attention_speed.py measured.

A report is a dict: cpu, threads, base (kind -> the window or number of hashes of all lengths),
sweep_tokens (the length at which the others were measured) and rows. A row has kind, tokens,
window or hashes, dtype, pass, and under each program's name seconds, bytes (peak resident memory)
and, for longspan, fraction (of the machine's peak), or "failed" with the reason.
"""
import statistics

# In the order of tables and legends; a program has one colour in all pictures.
LABELS = {"longspan": "longspan", "hf-chunks": "Hugging Face's chunks",
          "flex": "FlexAttention", "local-attention": "local-attention",
          "sdpa-full": "torch's full attention", "reformer-pytorch": "reformer-pytorch"}
COLOURS = {"longspan": "#0072b2", "hf-chunks": "#e69f00", "flex": "#009e73",
           "local-attention": "#cc79a7", "sdpa-full": "#7f7f7f", "reformer-pytorch": "#d55e00"}
SETTING = {"window": "window", "lsh": "hashes"}
SETTING_LABELS = {"window": "keys on each side", "lsh": "rounds of hashing"}
DTYPES = {"f32": "fp32", "bf16": "bf16"}
DASHES = {"f32": "-", "bf16": (0, (4, 2))}
PASSES = {"forward": "forward", "both": "forward and backward"}


def setting(row):
    return row[SETTING[row["kind"]]]


def key(row):
    return row["kind"], row["tokens"], setting(row), row["dtype"], row["pass"]


def measured(row, name):
    return name in row and "failed" not in row[name]


def title(kind, passes, middle):
    return f"{'LSH' if kind == 'lsh' else kind} attention, {middle}, {PASSES[passes]}"


def base_title(report, kind, passes):
    value = report["base"][kind]
    what = SETTING_LABELS[kind] if value != 1 else {"window": "key on each side",
                                                    "lsh": "round of hashing"}[kind]
    return title(kind, passes, f"{value} {what}")


def join(reports):
    """One report of several from the same machine. Of a row that was measured twice the later one
    counts."""
    for report in reports[1:]:
        for name in ["cpu", "threads", "base", "sweep_tokens"]:
            if report[name] != reports[0][name]:
                raise SystemExit(f"not to be joined: {name} is {reports[0][name]} in one report "
                                 f"and {report[name]} in another")
    rows = {key(row): row for report in reports for row in report["rows"]}
    return {**reports[-1], "rows": [rows[k] for k in sorted(rows)]}


def tell(row):
    """Prints what one row found."""
    begin = f"{row['kind']:6} {row['tokens']:6} {setting(row):4} {row['dtype']:4} {row['pass']:7} "
    for name in LABELS:
        one = row.get(name)
        if one is None:
            continue
        line = f"{begin}{name:16} "
        begin = " " * len(begin)
        if "failed" in one:
            print(f"{line} failed: {one['failed']}", flush=True)
            continue
        line += f"{one['seconds']:8.4f} s {one['bytes'] / 1e6:6.0f} MB "
        if name == "longspan":
            line += f"{one['fraction']:6.2f} of the peak"
        elif measured(row, "longspan"):
            line += f"{one['seconds'] / row['longspan']['seconds']:6.1f} times"
        if "distance" in one:
            line += f", out differs by {one['distance']:.1e}"
        if "gradients" in one:
            line += f", gradients by {one['gradients']:.1e}"
        if trips := one.get("round_trips_ns"):
            line += f", cores {' '.join(f'{ns:.0f}' for ns in trips)} ns"
        print(line, flush=True)


# ---- tables -------------------------------------------------------------------------------------

def digits(value):
    """Three digits that count, never as a power of ten."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")


def reason(failed):
    if "allocate" in failed or "MemoryError" in failed:
        return "out of memory"
    return failed if len(failed) <= 80 else failed[:77] + "..."


def cells(row, name):
    """Seconds, times longspan's seconds, fraction of the peak, memory: one figure in each."""
    if not measured(row, name):
        return ["failed", "-", "-", "-"]
    one = row[name]
    times = "-"
    if name != "longspan" and measured(row, "longspan"):
        ratio = one["seconds"] / row["longspan"]["seconds"]
        times = f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"
    fraction = f"{one['fraction']:.2f}" if name == "longspan" else "-"
    return [digits(one["seconds"]), times, fraction, f"{one['bytes'] / 1e6:,.0f}"]


def exponent(value):
    return f"{value:.1e}".replace("e-0", "e-")


def below(rows, names):
    """How far the peers' results lie from longspan's, and why some have none."""
    differences, failures = [], []
    for name in names:
        found = [row[name] for row in rows if measured(row, name)]
        out, gradients = (max((one[what] for one in found if what in one), default=None)
                          for what in ["distance", "gradients"])
        if out is not None:
            differences.append(f"{LABELS[name]} {exponent(out)}"
                               + (f" and {exponent(gradients)}" if gradients is not None else ""))
        failures += [f"{LABELS[name]} failed at {row['tokens']:,}, {setting(row)}: "
                     f"{reason(row[name]['failed'])}."
                     for row in rows if name in row and not measured(row, name)]
    if differences:
        what = "Outputs and gradients" if rows[0]["pass"] == "both" else "Outputs"
        failures.insert(0, f"{what} differ from longspan's by at most: {', '.join(differences)}.")
    return " ".join(failures)


def table(rows, kind):
    names = [name for name in LABELS if any(name in row for row in rows)]
    heads = ["tokens", SETTING_LABELS[kind], "program", "seconds", "times longspan's",
             "of the peak", "MB"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in sorted(rows, key=lambda row: (row["tokens"], setting(row))):
        for name in names:
            if name in row:
                line = [f"{row['tokens']:,}", str(setting(row)), LABELS[name], *cells(row, name)]
                lines.append("| " + " | ".join(line) + " |")
    notes = below(rows, names)
    return "\n".join(lines + (["", notes] if notes else []))


def markdown(report):
    """A table for each kind, pass and data type, a line for each length and setting."""
    rows = report["rows"]
    idle = [row[name]["idle_bytes"] for row in rows for name in row
            if name in LABELS and measured(row, name) and "idle_bytes" in row[name]]
    text = (f"{report['cpu']}, {report['threads']} threads. The peak is that of the data type, the "
            "memory is the peak resident memory of the process.")
    if idle:
        text += (f" Of the others' memory {statistics.median(idle) / 1e6:,.0f} MB (median) are "
                 "Python and the libraries before the first step.")
    parts = [text]
    for kind in SETTING:
        for passes in PASSES:
            for dtype in DTYPES:
                mine = [row for row in rows
                        if (row["kind"], row["pass"], row["dtype"]) == (kind, passes, dtype)]
                if mine:
                    heading = title(kind, passes, DTYPES[dtype])
                    parts += [f"**{heading[0].upper()}{heading[1:]}**", table(mine, kind)]
    return "\n\n".join(parts) + "\n"


# ---- pictures -----------------------------------------------------------------------------------

def pyplot():
    """matplotlib, set up for SVGs that are small and the same each time; text stays text."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot as plots

    matplotlib.rcParams.update({
        "svg.hashsalt": "longspan", "svg.fonttype": "none", "font.size": 9,
        "font.sans-serif": ["DejaVu Sans", "Verdana"], "axes.titlesize": 8.5, "axes.grid": True,
        "grid.color": "#dddddd", "grid.linewidth": 0.6, "lines.markersize": 4})
    return plots


def save(plots, figure, path, name):
    figure.savefig(path, metadata={"Date": None, "Creator": None, "Title": name})
    plots.close(figure)


def grid(plots, rows, height):
    """A panel for each kind (from top to bottom) and pass (from left to right), 900 pixels wide."""
    kinds = [kind for kind in SETTING if any(row["kind"] == kind for row in rows)]
    passes = [p for p in PASSES if any(row["pass"] == p for row in rows)]
    figure, axes = plots.subplots(len(kinds), len(passes), figsize=(9.3, height * len(kinds) + 0.6),
                                  sharey=True, squeeze=False, layout="constrained")
    return figure, {(kind, p): axes[i][j] for i, kind in enumerate(kinds)
                    for j, p in enumerate(passes)}


def draw(axis, rows, x, value):
    """A line for each program and data type of value(what it reported) against row[x]."""
    for name in reversed(LABELS):  # longspan's lie on top
        for dtype, dashes in DASHES.items():
            points = sorted((row[x], value(row[name])) for row in rows
                            if row["dtype"] == dtype and measured(row, name)
                            and value(row[name]) is not None)
            if points:
                axis.plot(*zip(*points), marker="o", color=COLOURS[name], linestyle=dashes,
                          linewidth=2.2 if name == "longspan" else 1.3)


def finish_axis(axis, values, xlabel, ylabel):
    from matplotlib import ticker

    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_locator(ticker.FixedLocator(sorted(set(values))))
    axis.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axis.xaxis.set_minor_locator(ticker.NullLocator())
    axis.set_xlabel(xlabel)
    if axis.get_subplotspec().is_first_col():
        axis.set_ylabel(ylabel)


def logarithmic(axis):
    """1, 3, 10, 30, ... up the axis, written out."""
    from matplotlib import ticker

    axis.set_yscale("log")
    axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 3), numticks=30))
    axis.yaxis.set_major_formatter(
        ticker.FuncFormatter(lambda y, _: f"{y:,.0f}" if y >= 1 else f"{y:g}"))
    axis.yaxis.set_minor_locator(ticker.NullLocator())


def legend(figure, rows, names=tuple(LABELS)):
    from matplotlib.lines import Line2D

    names = [name for name in names if any(measured(row, name) for row in rows)]
    handles = [Line2D([], [], color=COLOURS[name], marker="o", label=LABELS[name],
                      linewidth=2.2 if name == "longspan" else 1.3) for name in names]
    dtypes = [dtype for dtype in DTYPES if any(row["dtype"] == dtype for row in rows)]
    handles += [Line2D([], [], color="black", linestyle=DASHES[dtype], label=DTYPES[dtype])
                for dtype in dtypes]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)),
                  frameon=False)


def against_tokens(plots, report, value, ylabel, path, fractions=False):
    """One panel for each kind and pass: value against tokens at the base setting. `fractions`:
    only longspan has them, and their axis goes from nothing to all."""
    rows = [row for row in report["rows"] if setting(row) == report["base"][row["kind"]]]
    if not rows:
        return
    figure, panels = grid(plots, rows, 2.1 if fractions else 2.9)
    for (kind, passes), axis in panels.items():
        mine = [row for row in rows if (row["kind"], row["pass"]) == (kind, passes)]
        draw(axis, mine, "tokens", value)
        axis.set_title(base_title(report, kind, passes))
        finish_axis(axis, [row["tokens"] for row in mine], "tokens", ylabel)
        if fractions:
            axis.set_ylim(0, 1)
        else:
            logarithmic(axis)
    legend(figure, rows, ["longspan"] if fractions else tuple(LABELS))
    save(plots, figure, path, f"Attention: {ylabel} against tokens")


def against_settings(plots, report, path):
    """Seconds against the window and against rounds of hashing at one length; full attention,
    which knows neither, goes straight through. Draws nothing when there was no sweep."""
    rows = [row for row in report["rows"] if row["tokens"] == report["sweep_tokens"]]
    swept = {kind for kind in SETTING
             if len({setting(row) for row in rows if row["kind"] == kind}) > 1}
    rows = [row for row in rows if row["kind"] in swept]
    if not rows:
        return
    figure, panels = grid(plots, rows, 2.9)
    for (kind, passes), axis in panels.items():
        mine = [row for row in rows if (row["kind"], row["pass"]) == (kind, passes)]
        full = [row for row in mine if measured(row, "sdpa-full")]
        for row in full:
            axis.axhline(row["sdpa-full"]["seconds"], color=COLOURS["sdpa-full"],
                         linestyle=DASHES[row["dtype"]], linewidth=1.3)
        draw(axis, [{**row, "sdpa-full": {"failed": ""}} for row in mine], SETTING[kind],
             lambda one: one["seconds"])
        axis.set_title(title(kind, passes, f"{report['sweep_tokens']:,} tokens"))
        finish_axis(axis, map(setting, mine), SETTING_LABELS[kind], "seconds")
        logarithmic(axis)
    legend(figure, rows)
    save(plots, figure, path, "Attention: seconds against the window and rounds of hashing")


def plot(report, prefix, ending="svg"):
    """prefix_seconds, prefix_memory, prefix_sweep and prefix_peak."""
    plots = pyplot()
    against_tokens(plots, report, lambda one: one["seconds"], "seconds",
                   f"{prefix}_seconds.{ending}")
    against_tokens(plots, report, lambda one: one["bytes"] / 1e6, "peak memory, MB",
                   f"{prefix}_memory.{ending}")
    against_tokens(plots, report, lambda one: one.get("fraction"), "fraction of the peak",
                   f"{prefix}_peak.{ending}", fractions=True)
    against_settings(plots, report, f"{prefix}_sweep.{ending}")
