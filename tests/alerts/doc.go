// Package alerts has promtool evaluate the rules that the component registers, over
// series of what can happen to a database. Each scenario says which alerts fire at
// which moments, and that no other does.
package alerts
