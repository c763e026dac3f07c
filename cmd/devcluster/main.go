package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slotproxy/internal/testcluster"
	"strconv"
	"time"
)

// devcluster VERSION reshard-seconds
func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	cl, err := testcluster.Start(ctx, testcluster.Options{Version: testcluster.Version(os.Args[1])})
	if err != nil {
		panic(err)
	}
	defer cl.Stop()
	fmt.Println(cl.Addrs()[0])
	secs, _ := strconv.Atoi(os.Args[2])
	time.Sleep(3 * time.Second)
	end := time.Now().Add(time.Duration(secs) * time.Second)
	a, b := cl.Nodes[0], cl.Nodes[1]
	for time.Now().Before(end) && ctx.Err() == nil {
		n, err := cl.Reshard(ctx, a, b, 200)
		fmt.Fprintln(os.Stderr, time.Now().Format("05.000"), "moved", n, err)
		a, b = b, a
	}
	<-ctx.Done()
}
