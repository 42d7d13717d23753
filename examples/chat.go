// A chat that keeps its clients when it is replaced: the name of each, which is its first line, and what it is typing go to
// the next worker with the connection. The standard library is all it needs, with a file to copy.
//
//	go build -o chat examples/chat.go examples/reactord_worker.go
//	reactord supervise -p 1234 --workers 4 -- ./chat
package main

import (
	"errors"
	"log"
	"os"
	"strings"
	"sync"
	"time"
)

var (
	lock    sync.Mutex
	clients = map[*Connection]bool{}
)

func enter(client *Connection) {
	lock.Lock()
	defer lock.Unlock()
	clients[client] = true
}

func leave(client *Connection) {
	lock.Lock()
	defer lock.Unlock()
	delete(clients, client)
}

func sayToAll(line string) {
	lock.Lock()
	defer lock.Unlock()
	for client := range clients {
		client.SetWriteDeadline(time.Now().Add(time.Second))
		if _, err := client.Write([]byte(line)); err != nil {
			client.Close() // It is gone, or reads too slowly.
		}
	}
}

func serve(client *Connection) {
	name, typed, _ := strings.Cut(client.State, "\n")
	enter(client)
	defer leave(client)
	for buffer := make([]byte, 4096); len(typed) <= 1000; {
		count, err := client.Read(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			leave(client) // Nothing is written to it any more.
			if client.GiveBack(name + "\n" + typed) {
				return
			}
			enter(client)
		} else if err != nil {
			return
		}
		lines := strings.Split(typed+string(buffer[:count]), "\n")
		for _, line := range lines[:len(lines)-1] {
			if name == "" {
				name = line
			} else {
				sayToAll(name + ": " + line + "\n")
			}
		}
		typed = lines[len(lines)-1]
	}
}

func main() {
	if err := Work(900, serve); err != nil {
		log.Fatal(err)
	}
}
