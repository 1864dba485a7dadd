package boltstore_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/storage/boltstore"
)

// childEnv tells a process of the test binary which part of a test it is, and
// CHILD_PATH which file is meant.
const childEnv = "BOLTSTORE_TEST_CHILD"

// nobody is a user and group without rights.
const nobody = 65534

func TestMain(m *testing.M) {
	path := os.Getenv("CHILD_PATH")
	var err error
	switch child := os.Getenv(childEnv); child {
	case "":
		os.Exit(m.Run())
	case "write":
		var next [writers]int
		if _, err = fmt.Sscan(os.Getenv("CHILD_NEXT"), &next[0], &next[1], &next[2], &next[3]); err == nil {
			err = writeUntilKilled(path, next, lie(os.Getenv("CHILD_LIE")))
		}
	case "hold":
		err = holdUntilEnd(path)
	case "open as nobody":
		err = openAsNobody(path)
	case "fill the disk":
		err = fillDisk(path)
	case "spend the reserve":
		err = spendReserve(path)
	default:
		err = fmt.Errorf("no child %q", child)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// holdUntilEnd has the store open from the line that it prints to the end of its
// input.
func holdUntilEnd(path string) error {
	s, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		return err
	}
	fmt.Println("open")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return s.Close()
}

// openAsNobody prints the error of Open.
func openAsNobody(path string) error {
	if os.Getuid() == 0 {
		if err := syscall.Setgroups(nil); err != nil {
			return err
		}
		if err := syscall.Setgid(nobody); err != nil {
			return err
		}
		if err := syscall.Setuid(nobody); err != nil {
			return err
		}
	}
	s, err := boltstore.Open(path, boltstore.Options{})
	if err == nil {
		return fmt.Errorf("opened; and %w", s.Close())
	}
	fmt.Println(err)
	return nil
}

// A child is a process of the test binary.
type child struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stdout *bufio.Reader
	stderr bytes.Buffer
}

// startChild starts a child that is killed if it takes longer than a minute.
func startChild(t *testing.T, name, path string) *child {
	t.Helper()
	c := &child{cmd: exec.CommandContext(t.Context(), os.Args[0])}
	c.cmd.Env = append(os.Environ(), childEnv+"="+name, "CHILD_PATH="+path)
	c.cmd.Stderr = &c.stderr
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stdin, c.stdout = stdin, bufio.NewReader(stdout)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.AfterFunc(time.Minute, func() { _ = c.cmd.Process.Kill() })
	t.Cleanup(func() { deadline.Stop() })
	return c
}

// line returns the next line that the child prints.
func (c *child) line(t *testing.T) string {
	t.Helper()
	line, err := c.stdout.ReadString('\n')
	if err != nil {
		_ = c.cmd.Wait()
		t.Fatalf("the child has ended early: %s", &c.stderr)
	}
	return strings.TrimSuffix(line, "\n")
}

// end closes the input of the child and waits for its success.
func (c *child) end(t *testing.T) {
	t.Helper()
	_ = c.stdin.Close()
	if err := c.cmd.Wait(); err != nil {
		t.Fatalf("the child has failed: %v, %s", err, &c.stderr)
	}
}
