// Package upkeep holds the documents, the versions that they name, the workflows
// and the Makefile to what is there.
package upkeep

// root is the repository's.
const root = "../.."
