// Package archtest holds the house to its plan. It has tests only:
//
//	imports_test.go  who may import whom, and the one home of each third-party package
//	source_test.go   sizes, goroutines with names, no skipped tests, no notes without an issue
//	docs_test.go     the files that docs/architecture.md names exist
//	tree_test.go     reads the module's Go files, once, whatever their build tags
//
// A new package or dependency needs its line in imports_test.go: that line is the
// decision, so it belongs into the same commit. A rule is loosened there, with a
// reason, and not by an exception in the code that breaks it.
//
// Sources are parsed instead of asking go list, because go list sees only the
// files of one system and one set of build tags.
package archtest
