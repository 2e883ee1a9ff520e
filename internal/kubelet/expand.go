// Package kubelet does to a container what the kubelet does before it starts it,
// for tests that run one without it.
package kubelet

import "strings"

// Expand replaces $(NAME) in a command or in the value of a variable by what is
// known, and $$ by $: Expand in
// https://github.com/kubernetes/kubernetes/blob/v1.34.4/third_party/forked/golang/expansion/expand.go
func Expand(text string, known map[string]string) string {
	var expanded strings.Builder
	for {
		before, after, found := strings.Cut(text, "$")
		expanded.WriteString(before)
		if !found {
			return expanded.String()
		}
		text = after
		name, rest, closed := strings.Cut(strings.TrimPrefix(after, "("), ")")
		value, isKnown := known[name]
		switch {
		case strings.HasPrefix(after, "$"):
			expanded.WriteString("$")
			text = after[1:]
		case strings.HasPrefix(after, "(") && closed && isKnown:
			expanded.WriteString(value)
			text = rest
		case strings.HasPrefix(after, "(") && closed:
			expanded.WriteString("$(" + name + ")")
			text = rest
		default:
			expanded.WriteString("$")
		}
	}
}
