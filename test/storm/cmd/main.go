// Command cmd runs a storm by hand: go run ./test/storm/cmd -addr 127.0.0.1:6479 -seconds 30
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"slotproxy/test/storm"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:6479", "endpoint, host:port or the path of a unix socket")
	seconds := flag.Int("seconds", 15, "length of the run")
	clients := flag.Int("clients", 4, "clients per class")
	first := flag.Int("first", 0, "first hot slot")
	count := flag.Int("slots", 200, "number of hot slots")
	ballast := flag.Int("ballast", 20, "further keys per hot slot")
	classes := flag.String("classes", "", "comma-separated, empty is all: "+strings.Join(storm.Classes(), ","))
	flag.Parse()
	if *first < 0 || *count < 1 || *first+*count > 16384 {
		fmt.Fprintln(os.Stderr, "storm: slots run from 0 to 16383")
		os.Exit(2)
	}

	opt := storm.Options{Clients: *clients, Ballast: *ballast}
	if opt.Ballast == 0 {
		opt.Ballast = -1
	}
	opt.Dial = func() (net.Conn, error) {
		network := "tcp"
		if strings.HasPrefix(*addr, "/") {
			network = "unix"
		}
		return net.DialTimeout(network, *addr, 5*time.Second)
	}
	for s := range *count {
		opt.Hot = append(opt.Hot, uint16(*first+s))
	}
	if *classes != "" {
		opt.Classes = strings.Split(*classes, ",")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(*seconds)*time.Second)
	defer cancel()
	report, err := storm.Run(ctx, opt)
	fmt.Print(report)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if report.Errors()+report.Violations() > 0 {
		os.Exit(1)
	}
}
