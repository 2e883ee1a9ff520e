// Package monitoring reads the dashboard for Grafana, and the expressions of rules.
package monitoring
