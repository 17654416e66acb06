// SPDX-License-Identifier: LGPL-2.1-or-later

// Goroutines that outnumber the threads, channels, timers, garbage, files, and the signals by which the runtime
// preempts itself.
package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"
)

func chain(seed, rounds int) string {
	digest := sha256.Sum256([]byte(strconv.Itoa(seed)))
	for i := 0; i < rounds; i++ {
		digest = sha256.Sum256(digest[:])
	}
	return fmt.Sprintf("%x", digest)
}

func spin(rounds int) uint32 { // calls nothing: stopped only by a signal
	var sum uint32
	for i := 0; i < rounds; i++ {
		sum = sum*31 + uint32(i)
	}
	return sum
}

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func main() {
	size, err := strconv.Atoi(os.Args[1])
	check(err)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	tasks := make(chan int)
	results := make([]string, size)
	var workers sync.WaitGroup
	for n := 0; n < 50; n++ {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for task := range tasks {
				time.Sleep(time.Millisecond)
				results[task] = chain(task, 200) + fmt.Sprint(spin(100000))
			}
		}()
	}
	ticker := time.NewTicker(2 * time.Millisecond)
	ticks, heard := 0, 0
	reader, writer, err := os.Pipe()
	check(err)
	echoed := make(chan int)
	go func() {
		sum, buffer := 0, make([]byte, 7)
		for {
			n, err := reader.Read(buffer)
			for _, b := range buffer[:n] {
				sum = sum*31 + int(b)
			}
			if err != nil {
				echoed <- sum
				return
			}
		}
	}()
	for task := 0; task < size; {
		select {
		case tasks <- task:
			_, err := writer.Write([]byte{byte(task), byte(task >> 8), 3})
			check(err)
			if task%100 == 0 {
				check(syscall.Kill(os.Getpid(), syscall.SIGUSR1))
				<-signals
				heard++
			}
			task++
		case <-ticker.C:
			ticks++
		}
	}
	close(tasks)
	workers.Wait()
	check(writer.Close())
	all := sha256.New()
	for _, result := range results {
		all.Write([]byte(result))
	}
	if ticks == 0 {
		check(fmt.Errorf("no ticks"))
	}
	fmt.Printf("%x %d %d\n", all.Sum(nil), <-echoed, heard)
}
