// reactord_worker.go: a worker of `reactord supervise` that gives connections back, in Go, for Linux. The standard library is
// all it needs. Copy it into your program, and give it the name of your package.
//
// What both sides say is in docs/queue.md. License: MIT OR Apache-2.0.
package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Connection is a client's connection, which belongs to this worker.
type Connection struct {
	net.Conn
	// State is what it was given back with, by this worker or another; IsNew says that it was not.
	State string
	IsNew bool

	worker *worker
	id     string
	kept   bool // It was given back and refused: it stays.
	given  bool // It is the supervisor's again.
}

type worker struct {
	queue     *net.UnixConn
	packet    [255 + 1 + 65536 + 1]byte
	rights    [4096]byte // The kernel puts no more than 253 descriptors into a packet.
	lock      sync.Mutex // Of what follows. Nobody waits for the supervisor while he has it.
	mine      map[*Connection]bool
	serving   int
	nobody    *sync.Cond
	finishing bool
}

// Work serves the supervisor's connections, up to so many of them, each in a goroutine of its own that ends when serve returns.
// It returns when this worker is to exit.
//
// When the supervisor wants a connection back, its reads fail with os.ErrDeadlineExceeded. Then serve calls GiveBack, and
// returns if that says true.
func Work(connections int, serve func(*Connection)) error {
	queue, err := inherit()
	if err != nil {
		return fmt.Errorf("REACTORD_QUEUE: %w", err)
	}
	w := &worker{queue: queue, mine: map[*Connection]bool{}}
	w.nobody = sync.NewCond(&w.lock)
	w.say("ready 2")
	w.say(fmt.Sprintf("want %d", connections))
	for err == nil {
		err = w.hear(serve)
	}
	w.queue.CloseRead()
	w.leave()
	w.lock.Lock()
	defer w.lock.Unlock()
	for w.serving > 0 {
		w.nobody.Wait()
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return fmt.Errorf("the supervisor's queue: %w", err)
}

// GiveBack gives the connection back, so that another worker goes on with it and with up to 64 KiB of state. If it says false,
// the connection is this worker's still.
func (c *Connection) GiveBack(state string) bool {
	c.SetReadDeadline(time.Time{})
	raw, err := c.Conn.(syscall.Conn).SyscallConn()
	if err != nil || c.kept || len(state) > 65536 {
		return false
	}
	raw.Control(func(descriptor uintptr) {
		c.given = c.worker.say("back "+c.id+"\n"+state, int(descriptor))
	})
	return c.given
}

// The queue that this process was started with, which programs that it starts do not inherit.
func inherit() (*net.UnixConn, error) {
	number, err := strconv.Atoi(os.Getenv("REACTORD_QUEUE"))
	if err != nil {
		return nil, fmt.Errorf("a worker is started by reactord supervise -- COMMAND: %w", err)
	}
	conn, err := adopt(number)
	if err != nil {
		return nil, err
	}
	os.Unsetenv("REACTORD_QUEUE")
	if queue, is := conn.(*net.UnixConn); is {
		return queue, nil
	}
	return nil, errors.New("a Unix socket of packets is expected")
}

// A descriptor, in the care of the runtime.
func adopt(descriptor int) (net.Conn, error) {
	file := os.NewFile(uintptr(descriptor), "descriptor "+strconv.Itoa(descriptor))
	defer file.Close()
	return net.FileConn(file)
}

// Says something, and waits until the socket takes it. Whoever hears must not: the supervisor may wait for being heard.
func (w *worker) say(packet string, descriptors ...int) bool {
	for {
		_, _, err := w.queue.WriteMsgUnix([]byte(packet), syscall.UnixRights(descriptors...), nil)
		if !errors.Is(err, syscall.ETOOMANYREFS) {
			return err == nil
		}
		time.Sleep(10 * time.Millisecond) // So many descriptors of this user are under way: that passes, and nothing tells.
	}
}

// Hears one packet.
func (w *worker) hear(serve func(*Connection)) error {
	bytes, control, _, _, err := w.queue.ReadMsgUnix(w.packet[:], w.rights[:])
	if errors.Is(err, syscall.ECONNRESET) {
		return nil // Said once, before what is left to hear.
	} else if err != nil {
		return err
	}
	words, state, hasState := strings.Cut(string(w.packet[:bytes]), "\n")
	word := strings.Split(words, " ")
	conns := received(w.rights[:control])
	switch {
	case word[0] == "connection" && len(word) == 4 && len(conns) == 1:
		w.start(&Connection{Conn: conns[0], State: state, IsNew: !hasState, worker: w, id: word[1]}, serve)
		return nil
	case word[0] == "keep" && len(word) == 2 && len(conns) == 1:
		w.start(&Connection{Conn: conns[0], State: state, worker: w, id: word[1], kept: true}, serve)
		return nil
	case word[0] == "connection" || word[0] == "keep":
		err = fmt.Errorf("%q came with %d connections, 1 is expected", words, len(conns))
	case word[0] == "give" && len(word) == 2:
		count, _ := strconv.Atoi(word[1])
		w.want(count, false)
	case words == "finish":
		w.want(math.MaxInt, true)
	}
	// What came with a word of a later version is not kept.
	for _, conn := range conns {
		conn.Close()
	}
	return err
}

// The connections that came with a packet.
func received(rights []byte) (conns []net.Conn) {
	messages, _ := syscall.ParseSocketControlMessage(rights)
	for _, message := range messages {
		descriptors, _ := syscall.ParseUnixRights(&message)
		for _, descriptor := range descriptors {
			if conn, err := adopt(descriptor); err == nil {
				conns = append(conns, conn)
			}
		}
	}
	return conns
}

// Takes a connection, unless it is this worker's already, and serves it.
func (w *worker) start(c *Connection, serve func(*Connection)) {
	w.lock.Lock()
	w.serving++
	w.lock.Unlock()
	go func() {
		defer w.end(c)
		w.own(c) // Before it is said: it may be wanted back at once.
		if c.kept || w.say("took "+c.id) {
			serve(c)
		} else {
			w.disown(c)
		}
	}()
}

func (w *worker) own(c *Connection) {
	w.lock.Lock()
	defer w.lock.Unlock()
	w.mine[c] = true
	if w.finishing && !c.kept {
		c.SetReadDeadline(time.Unix(1, 0))
	}
}

// Says whether it was this worker's until now.
func (w *worker) disown(c *Connection) bool {
	w.lock.Lock()
	defer w.lock.Unlock()
	defer delete(w.mine, c)
	return w.mine[c] && !c.given
}

func (w *worker) end(c *Connection) {
	c.Close() // Without shutdown: it may live on.
	if w.disown(c) {
		w.say("done " + c.id)
	}
	w.say("want 1")
	w.lock.Lock()
	defer w.lock.Unlock()
	w.serving--
	w.nobody.Broadcast()
	if w.finishing && w.serving == 0 {
		w.leave()
	}
}

// So many connections are wanted back.
func (w *worker) want(count int, finishing bool) {
	w.lock.Lock()
	defer w.lock.Unlock()
	for c := range w.mine {
		if count > 0 && !c.kept {
			c.SetReadDeadline(time.Unix(1, 0))
			count--
		}
	}
	w.finishing = w.finishing || finishing
	if w.finishing && w.serving == 0 {
		w.leave()
	}
}

// Says nothing more, and hears on: what was given last may be refused. The supervisor ends its side when it has answered all.
func (w *worker) leave() {
	w.queue.CloseWrite()
}
