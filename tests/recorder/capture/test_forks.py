"""Processes made by fork or spawn inside a step: the parent's capture stays the parent's."""

from __future__ import annotations


def test_a_forked_child_that_unwinds_changes_nothing(run):
    """The child's close says that it owns nothing, and the parent's step goes on being captured."""
    done = run(
        """
        step = open_step("a")
        print("half of", end="")
        pid = os.fork()
        if pid == 0:
            print(" a line by the child")
            result = step.close()
            fd(1, f"owner {result.owner}\\n")
            raise SystemExit(0)
        os.waitpid(pid, 0)
        print("parent"); fd(1, "exact\\n")
        print(step.close().owner)
        """
    )
    assert done.log("a.out") == "half of a line by the child\nowner False\nparent\nexact\n"
    assert done.stdout == done.log("a.out") + "True\n"


def test_a_forked_child_opens_a_step_of_its_own(run):
    """Its own step is exact and shown; before and after it, the child's output is the parent's step's."""
    done = run(
        """
        a = open_step("a")
        pid = os.fork()
        if pid == 0:
            print("child before")
            for key in "bc":
                step = open_step(key)
                print("in", key); fd(1, f"exact {key}\\n")
                assert step.close().owner
                print("child after", key); fd(1, "descriptor after\\n")
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(pid, 0)
        a.close()
        """
    )
    assert done.log("b.out") == "in b\nexact b\n"
    assert done.log("c.out") == "in c\nexact c\n"
    assert done.log("a.out") == "child before\nchild after b\ndescriptor after\nchild after c\ndescriptor after\n"
    assert sorted(done.stdout.splitlines()) == sorted(
        (done.log("a.out") + done.log("b.out") + done.log("c.out")).splitlines()
    )


def test_forks_while_other_threads_print(run):
    """Forking while threads print neither hangs the child nor writes a line twice."""
    done = run(
        """
        shared = shared_log()
        stop = threading.Event()
        counts = {}
        def work(name):
            step = open_step(name, shared=shared)
            n = 0
            while not stop.is_set():
                print(name, n, end=" "); print("end"); n += 1
            counts[name] = n
            step.close()
        threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(3)]
        for thread in threads: thread.start()
        main = open_step("main", shared=shared)
        for n in range(20):
            pid = os.fork()
            if pid == 0:
                print("child", n)
                sys.stdout.flush()
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        stop.set()
        for thread in threads: thread.join()
        main.close(); shared.close()
        for name, n in counts.items():
            assert open(f"{LOGS}/{name}.out").read() == "".join(f"{name} {i} end\\n" for i in range(n)), name
        """
    )
    assert done.log("main.out") == "".join(f"child {n}\n" for n in range(20))


def test_multiprocessing_children_are_in_the_step(run):
    """Children of a pool, forked or spawned, print into the step that started them."""
    done = run(
        """
        import multiprocessing
        if __name__ == "__main__":
            for method in ("fork", "spawn"):
                step = open_step(method)
                with multiprocessing.get_context(method).Pool(1) as pool:
                    pool.apply(print, ("from the pool",))
                    pool.close(); pool.join()
                step.close()
        """
    )
    assert done.log("fork.out") == "from the pool\n"
    assert done.log("spawn.out") == "from the pool\n"


def test_a_half_line_of_another_thread_stays_the_parents(run):
    """A thread of the parent holds half a line when another forks: the line is whole, and no line of the child's."""
    done = run(
        """
        step = open_step("a")
        halfway, go_on = threading.Event(), threading.Event()
        def slowly():
            print("half", end=" ")
            halfway.set(); go_on.wait()
            print("line")
        thread = threading.Thread(target=slowly); thread.start()
        halfway.wait()
        pid = os.fork()
        if pid == 0:
            # Many, so that one of them gets the identifier that the parent's thread has.
            threads = [threading.Thread(target=print, args=("child",)) for _ in range(20)]
            for one in threads: one.start(); one.join()
            os._exit(0)
        os.waitpid(pid, 0)
        go_on.set(); thread.join()
        step.close()
        """
    )
    assert done.log("a.out") == "child\n" * 20 + "half line\n"


def test_after_its_own_step_a_forked_child_is_in_the_parents_again(run):
    """Where sys.stdout is no descriptor (a notebook): a thread of a forked child, after a step of the child's own."""
    done = run(
        """
        import io
        sys.stdout = io.StringIO()
        a = open_step("a")
        pid = os.fork()
        if pid == 0:
            open_step("b").close()
            thread = threading.Thread(target=print, args=("in a",)); thread.start(); thread.join()
            os._exit(0)
        os.waitpid(pid, 0)
        a.close()
        """
    )
    assert (done.log("a.out"), done.log("b.out")) == ("in a\n", "")
