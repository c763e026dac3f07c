// Package test holds the black-box tests: they build slotproxy, run it as a process of its own in front of real servers or of
// scripted ones (internal/testnode), and know nothing of its insides.
//
//	go test ./test                                      everything, about eight minutes on two cores
//	go test ./test -run EveryCommand                    the table over all commands, half a minute; cases_test.go says how to write a case
//	go test ./test -run Storm -v                        one part, with its tables
//	SLOTPROXY_BIN=./bin/slotproxy go test ./test        that binary instead of a fresh build
//	SLOTPROXY_STORM_SECONDS=60 go test ./test -run Storm
//	SLOTPROXY_STORM_SLOTS=2000 go test ./test -run StormSees -v    jobs of 2000 slots instead of 200
//	SLOTPROXY_FAULTS=all go test ./test -timeout 3h -run 'AJobOutlives|StateFromBefore'    every fault of a node, every cut of the network
//
// Servers come from internal/testcluster; one cluster and one bare server of each version are shared by the tests that leave
// them as they were. A test that kills or freezes nodes starts its own.
package test
