// Package report shows what was found: as text, as one line for each finding, or
// as JSON.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/diagnosis"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/examine"
)

// Version is that of the JSON. It changes when a field changes its meaning or
// goes.
const Version = 1

// Report is the answer for an environment.
type Report struct {
	Version     int                             `json:"version"`
	Time        time.Time                       `json:"time"`
	Environment string                          `json:"environment"`
	Databases   []diagnosis.Database            `json:"databases"`
	Calls       map[cnpg.Location]examine.Count `json:"calls"`
}

// The exit codes, in the order of Nagios' plugins, and sysexits' for usage.
const (
	// ExitRestores is that every copy restores and nothing is to be done.
	ExitRestores = 0
	// ExitWarning is that every copy restores, and something is to be done.
	ExitWarning = 1
	// ExitDoesNot is that a copy does not restore.
	ExitDoesNot = 2
	// ExitUnknown is that it could not be told.
	ExitUnknown = 3
	// ExitUsage is a command line that makes no sense.
	ExitUsage = 64
)

// Exit is the code for all of it: the worst that is certain, then what could not be
// told, then what is to be done.
func (r *Report) Exit() int {
	verdicts, warned, untried := map[diagnosis.Verdict]int{}, false, false
	for _, database := range r.Databases {
		for _, one := range database.Copies {
			verdicts[one.Verdict]++
			warned = warned || len(one.Findings) > 0
			untried = untried || one.Proof != nil && one.Proof.Untried != ""
		}
	}
	switch {
	case verdicts[diagnosis.DoesNot] > 0:
		return ExitDoesNot
	case verdicts[diagnosis.Unknown] > 0, untried:
		return ExitUnknown
	case warned:
		return ExitWarning
	default:
		return ExitRestores
	}
}

// JSON writes all of it.
func (r *Report) JSON(to io.Writer) error {
	encoder := json.NewEncoder(to)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// Style is how text is shown.
type Style struct {
	// Colours are for a terminal. What they say is said by words, too.
	Colours bool
	// Recovery adds the lines to restore with, as if the Cluster were gone.
	Recovery bool
}

// columns is what a terminal is sure to have.
const columns = 80

// Database writes what is said of one.
func (s Style) Database(to io.Writer, now time.Time, d diagnosis.Database) {
	life := ""
	if d.Generation > 1 {
		life = fmt.Sprintf(", generation %d", d.Generation)
	}
	fmt.Fprintf(to, "%s (%s/%s%s)\n", d.Name, d.Namespace, d.Cluster, life)
	for _, one := range d.Copies {
		s.copy(to, now, one)
	}
	for _, unread := range d.Unread {
		write(to, "  not read: ", "    ", unread)
	}
	gone := len(d.Copies) > 0 && slices.ContainsFunc(d.Copies[0].Findings, func(f diagnosis.Finding) bool { return f.Code == diagnosis.NoCluster })
	if (s.Recovery || gone) && d.Recovery != "" {
		fmt.Fprintf(to, "  To restore it, below cnpg-backup:databases, with the rest of its entry:\n")
		for line := range strings.Lines(d.Recovery) {
			fmt.Fprint(to, "    ", line)
		}
	}
}

func (s Style) copy(to io.Writer, now time.Time, c diagnosis.Copy) {
	head := fmt.Sprintf("  %-8s %-6s ", c.Role, c.Location)
	verdict := fmt.Sprintf("%-9s ", c.Verdict)
	detail := c.Reason
	if c.Verdict == diagnosis.Restores {
		detail = fmt.Sprintf("%s (%s ago)", window(now, *c.From, *c.To), ago(now.Sub(*c.To)))
	}
	indent := strings.Repeat(" ", utf8.RuneCountInString(head+verdict))
	var text strings.Builder
	write(&text, head+verdict, indent, detail)
	fmt.Fprint(to, strings.Replace(text.String(), string(c.Verdict), s.coloured(c.Verdict), 1))
	for _, gap := range c.Gaps {
		write(to, indent, indent, fmt.Sprintf("but not between %s and %s", stamp(now, gap.From), stamp(now, roundUp(gap.To))))
	}
	if c.Estimate != nil {
		write(to, indent, indent, takes(c.Estimate))
	}
	if restored := restored(now, c); restored != "" {
		write(to, indent, indent, restored)
	}
	if c.BackupID != "" {
		write(to, indent, indent, "only with target.backupID: "+c.BackupID)
	}
	if c.Evidence != "" {
		write(to, indent, indent, c.Evidence)
	}
	if proof := proved(c.Proof); proof != "" {
		write(to, indent, indent, proof)
	}
	for _, finding := range c.Findings {
		writeFinding(to, finding)
	}
}

// takes is how long a restore takes, and what that rests on.
func takes(e *diagnosis.Estimate) string {
	text := fmt.Sprintf("a restore takes about %d min", e.Minutes)
	if e.Line > 0 {
		text += fmt.Sprintf(" at %g Mbit/s", e.Line)
	}
	return text
}

// restored is when a drill last restored a copy, "" for one without a drill.
func restored(now time.Time, c diagnosis.Copy) string {
	switch {
	case c.Restored == nil && !c.Drilled:
		return ""
	case c.Restored == nil:
		return "drill: none has passed yet"
	}
	text := "drill: restored " + ago(now.Sub(c.Restored.At)) + " ago"
	if c.Restored.To != nil {
		text += fmt.Sprintf(" in %d min, to %s", (c.Restored.Seconds+59)/60, stamp(now, *c.Restored.To))
	}
	return text
}

// proved is what became of a segment that was ended to see it arrive. Why it did
// not is a finding.
func proved(proof *diagnosis.Proof) string {
	switch {
	case proof == nil:
		return ""
	case proof.Untried != "":
		return "not proved: " + proof.Untried
	case proof.Failed != "":
		return "not proved: WAL " + proof.Segment + " did not arrive"
	default:
		return fmt.Sprintf("proved: WAL %s arrived in %d s", proof.Segment, proof.Seconds)
	}
}

const deep = "          "

func writeFinding(to io.Writer, f diagnosis.Finding) {
	write(to, fmt.Sprintf("    %s  ", f.Code), deep, f.Title+".")
	seen := f.Seen
	if f.Since != nil {
		seen = "since " + f.Since.Format("2 Jan 15:04") + ": " + seen
	}
	write(to, deep, deep, seen)
	write(to, deep, deep, "why: "+f.Why)
	if f.Next != "" {
		write(to, deep, deep, "next: "+f.Next)
	}
	writeCommand(to, f.Command)
	write(to, deep, deep, Guide(f.Code))
}

// Guide is where the guide explains a code.
func Guide(code diagnosis.Code) string {
	return "docs/troubleshooting.md#" + strings.ToLower(string(code))
}

// write wraps text between words.
func write(to io.Writer, first, indent, text string) {
	line := first
	used := utf8.RuneCountInString(first)
	empty := true
	for _, word := range split(text, columns-utf8.RuneCountInString(indent)) {
		length := utf8.RuneCountInString(word)
		if !empty && used+1+length > columns {
			fmt.Fprintln(to, strings.TrimRight(line, " "))
			line, used, empty = indent, utf8.RuneCountInString(indent), true
		}
		if !empty {
			line, used = line+" ", used+1
		}
		line, used, empty = line+word, used+length, false
	}
	fmt.Fprintln(to, strings.TrimRight(line, " "))
}

// split returns the words of a text, long ones in pieces.
func split(text string, most int) []string {
	var words []string
	for _, word := range strings.Fields(text) {
		for utf8.RuneCountInString(word) > most {
			runes := []rune(word)
			words, word = append(words, string(runes[:most])), string(runes[most:])
		}
		words = append(words, word)
	}
	return words
}

// writeCommand wraps a command so that it can still be pasted.
func writeCommand(to io.Writer, command string) {
	if command == "" {
		return
	}
	line := deep + "  "
	empty := true
	for _, word := range arguments(command) {
		if !empty && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word)+2 > columns {
			fmt.Fprintln(to, line+" \\")
			line, empty = deep+"    ", true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
	}
	fmt.Fprintln(to, line)
}

// arguments splits a command at the blanks that are not quoted.
func arguments(command string) []string {
	quoted := false
	return strings.FieldsFunc(command, func(r rune) bool {
		if r == '\'' {
			quoted = !quoted
		}
		return r == ' ' && !quoted
	})
}

// End writes what is true of all, and what is not said.
func (r *Report) End(to io.Writer) {
	copies, verdicts := 0, map[diagnosis.Verdict]int{}
	for _, database := range r.Databases {
		for _, one := range database.Copies {
			copies++
			verdicts[one.Verdict]++
		}
	}
	var parts []string
	for _, part := range []struct {
		verdict diagnosis.Verdict
		words   string
	}{{diagnosis.DoesNot, "%d of %d copies does not restore"}, {diagnosis.Unknown, "%d of %d copies could not be read"}} {
		if n := verdicts[part.verdict]; n > 0 {
			words := fmt.Sprintf(part.words, n, copies)
			if n > 1 {
				words = strings.Replace(words, "does not", "do not", 1)
			}
			parts = append(parts, words)
		}
	}
	switch {
	case len(parts) > 0:
	case copies == 1:
		parts = []string{"The copy restores"}
	case copies == 2:
		parts = []string{"Both copies restore"}
	default:
		parts = []string{fmt.Sprintf("All %d copies restore", copies)}
	}
	fmt.Fprintln(to, strings.Join(parts, ", ")+".")
	write(to, "", "", "Times are in UTC. This is what the lists of the stores say, by names and sizes: the contents were not read. "+
		"Only a drill does that: docs/drills.md.")
	count := r.Calls[cnpg.B2]
	write(to, "", "", fmt.Sprintf("Calls to B2: %d lists (class C) and %d reads (class B).", count.C, count.B))
}

// Short writes a line for each copy that does not restore, and for each finding;
// nothing when there is nothing to do.
func (r *Report) Short(to io.Writer) {
	for _, database := range r.Databases {
		for _, one := range database.Copies {
			name := fmt.Sprintf("%s %s %s", database.Name, one.Role, one.Location)
			if one.Verdict != diagnosis.Restores {
				fmt.Fprintf(to, "%s: %s: %s\n", name, one.Verdict, one.Reason)
			}
			if one.Proof != nil && one.Proof.Untried != "" {
				fmt.Fprintf(to, "%s: %s\n", name, proved(one.Proof))
			}
			for _, finding := range one.Findings {
				fmt.Fprintf(to, "%s: %s %s: %s\n", name, finding.Code, finding.Title, finding.Seen)
			}
		}
	}
}

func (s Style) coloured(verdict diagnosis.Verdict) string {
	if !s.Colours {
		return string(verdict)
	}
	colour := map[diagnosis.Verdict]string{diagnosis.Restores: "32", diagnosis.DoesNot: "31", diagnosis.Unknown: "33"}[verdict]
	return "\x1b[" + colour + "m" + string(verdict) + "\x1b[0m"
}

// stamp is a time to the minute, with the year when it is another one.
func stamp(now, at time.Time) string {
	if at.Year() != now.Year() {
		return at.Format("2 Jan 2006 15:04")
	}
	return at.Format("2 Jan 15:04")
}

// window is a stretch to the minutes that are in it, or to the seconds when none is.
func window(now, from, to time.Time) string {
	if whole := roundUp(from); !whole.After(to) {
		return stamp(now, whole) + " → " + stamp(now, to)
	}
	return stamp(now, from) + from.Format(":05") + " → " + stamp(now, to) + to.Format(":05")
}

// roundUp is the first whole minute that is not before a time: earlier is not
// restorable.
func roundUp(at time.Time) time.Time {
	if whole := at.Truncate(time.Minute); !whole.Equal(at) {
		return whole.Add(time.Minute)
	}
	return at
}

// ago is a duration in its largest unit.
func ago(d time.Duration) string {
	units := []struct {
		length time.Duration
		one    string
		many   string
	}{{24 * time.Hour, "day", "days"}, {time.Hour, "hour", "hours"}, {time.Minute, "min", "min"}}
	i := slices.IndexFunc(units, func(unit struct {
		length time.Duration
		one    string
		many   string
	},
	) bool {
		return d >= 2*unit.length
	})
	if i < 0 {
		if d >= time.Minute {
			return "1 min"
		}
		return "less than 1 min"
	}
	return fmt.Sprintf("%d %s", d/units[i].length, units[i].many)
}
