# SPDX-License-Identifier: GPL-2.0
#
# The cover letter, with figures in place of what asks for them, so that none goes stale:
#
#   @ROW | COLUMN@     the cell of that row and column, from a table of docs/BENCH.md
#   @9 ROW | COLUMN@   the same, right-aligned, 9 characters wide
#   @setup@            what was measured, on what, and how
#   @missed@           each bound that is missed
#
# A row is named by its first cells, a column by its heading without what is in parentheses.
# Exactly one cell has to fit.
#
# usage: awk -f figures.awk docs/BENCH.md cover.txt

function fail(text) {
	print "error: " FILENAME ":" FNR ": " text " in docs/BENCH.md" >"/dev/stderr"
	exit (failed = 1)
}

function plain(cell) {
	sub(/ \(.*/, "", cell)
	gsub(/^[ *]+|[ *]+$/, "", cell)
	return cell
}

# cell(I, COLUMN): of the row I; empty if its table has no such column
function cell(i, column,    n, heading, cells, k) {
	n = split(headings[i], heading, "|")
	split(rows[i], cells, "|")
	for (k = 3; k < n; k++)
		if (plain(heading[k]) == column)
			return plain(cells[k])
	return ""
}

function figure(row, column,    i, found, value) {
	for (i = 1; i <= count; i++)
		if (index(rows[i], "| " row " |") == 1 && cell(i, column) != "") {
			value = cell(i, column)
			found++
		}
	if (found != 1)
		fail("\"" row " | " column "\" is " (found ? "ambiguous" : "not"))
	return value
}

# wrap(TEXT, INDENT): lines of at most 72 characters, all but the first one indented
function wrap(text, indent,    n, words, line, i, out) {
	n = split(text, words, " ")
	for (i = 1; i <= n; i++) {
		if (length(line " " words[i]) > 72) {
			out = out line "\n"
			line = indent words[i]
		} else
			line = line (line == "" ? "" : " ") words[i]
	}
	return out line
}

function missed(    i, out, what) {
	for (i = 1; i <= count; i++)
		if (cell(i, "holds") == "no") {
			what = rows[i]
			sub(/ \|.*/, "", what)
			out = out wrap("- " substr(what, 3) ": " cell(i, "median") ", " cell(i, "measured as") \
				", where the bound is " cell(i, "bound"), "  ") "\n"
		}
	sub(/\n$/, "", out)
	return out
}

FNR == NR {
	if (!/^\|/)
		heading = ""
	else if (heading == "")
		heading = $0
	else {
		rows[++count] = $0
		headings[count] = heading
	}
	if (FNR > 1 && FNR < 5)
		setup = setup $0 " "
	next
}

{
	while (match($0, /@[^@]+@/)) {
		asked = substr($0, RSTART + 1, RLENGTH - 2)
		if (asked == "setup")
			value = wrap(setup, "")
		else if (asked == "missed")
			value = missed()
		else {
			width = asked ~ /^[0-9]+ / ? asked + 0 : 0
			sub(/^[0-9]+ /, "", asked)
			split(asked, names, / *\| *[^|]*$/)
			column = asked
			sub(/.*\| */, "", column)
			value = sprintf("%" width "s", figure(names[1], column))
		}
		$0 = substr($0, 1, RSTART - 1) value substr($0, RSTART + RLENGTH)
	}
	gsub(/≤/, "at most")
	gsub(/≥/, "at least")
	print
}

END { exit failed }
