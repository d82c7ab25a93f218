"""Several steps open at once: text goes to the step that printed it, bytes from below Python to one shared log."""

from __future__ import annotations


def test_nested_steps(run):
    """A step inside a step has its own text; bytes of descriptors go to the shared log while both are open."""
    done = run(
        """
        shared = shared_log()
        outer = open_step("outer", shared=shared)
        print("outer 1"); fd(1, "exact 1\\n")
        inner = open_step("inner", shared=shared)
        print("inner"); fd(1, "both\\n"); subprocess.run(["sh", "-c", "echo child; echo complaint >&2"])
        print(inner.close().shared)
        print("outer 2"); fd(1, "exact 2\\n")
        print(outer.close().shared)
        print(shared.close().captured, shared.step_keys)
        """
    )
    assert done.log("outer.out") == "outer 1\nexact 1\nTrue\nouter 2\nexact 2\n"
    assert done.log("inner.out") == "inner\n"
    assert done.log("(process).out") == "both\nchild\n"
    assert done.log("(process).err") == "complaint\n"
    assert done.stdout.endswith("True\nTrue ['outer', 'inner']\n")
    assert sorted(done.stdout.splitlines()) == sorted(
        f"{done.log('outer.out')}{done.log('inner.out')}{done.log('(process).out')}"
        "True\nTrue ['outer', 'inner']\n".splitlines()
    )


def test_any_order_of_closing(run):
    """Three overlapping steps closed first to last: after each close the rest goes on, and one alone is exact again."""
    done = run(
        """
        shared = shared_log()
        a, b, c = (open_step(key, shared=shared) for key in "abc")
        print("in c")
        a.close()
        print("still c"); fd(1, "b and c\\n")
        c.close()
        print("now b"); fd(1, "exact b\\n")
        d = open_step("d", shared=shared)
        fd(1, "b and d\\n")
        b.close()
        print("d"); fd(1, "exact d\\n")
        d.close()
        shared.close()
        print("console", flush=True); fd(1, "console too\\n")
        """
    )
    assert done.log("a.out") == ""
    assert done.log("b.out") == "now b\nexact b\n"
    assert done.log("c.out") == "in c\nstill c\n"
    assert done.log("d.out") == "d\nexact d\n"
    assert done.log("(process).out") == "b and c\nb and d\n"
    assert done.stdout.endswith("console\nconsole too\n")


def test_steps_that_overlap_for_ever_keep_none_of_the_past(run):
    """Each step opens before the last one closes, a thousand times: closed steps are not held on to."""
    run(
        """
        import gc
        step = open_step("0")
        for number in range(1, 1000):
            following = open_step(str(number % 3))
            step.close()
            step = following
        assert sum(isinstance(one, capture.StepCapture) for one in gc.get_objects()) <= 4
        step.close()
        assert len(os.listdir("/proc/self/fd")) < 10
        """
    )


def test_no_shared_log_is_opened_for_one_step_after_the_other(run):
    """Steps that never overlap are exact, and there is no shared log."""
    done = run(
        """
        shared = shared_log()
        for key in "ab":
            step = open_step(key, shared=shared)
            fd(1, key)
            assert not step.close().shared
        assert not shared.opened and not shared.close().captured
        """
    )
    assert sorted(path.name for path in done.logs.iterdir()) == ["a.err", "a.out", "b.err", "b.out"]


def test_without_a_shared_log_bytes_of_several_steps_are_on_the_console_only(run):
    """Nobody gave a shared log, or it can't be opened: the console still shows what no step can own."""
    done = run(
        """
        def refuse():
            raise ValueError("no room")
        shared = capture.SharedLog(refuse)
        a = open_step("a", shared=shared); b = open_step("b")
        fd(1, "whose?\\n"); print("b's")
        a.close(); b.close()
        print(shared.close().problem)
        """
    )
    assert (done.log("a.out"), done.log("b.out")) == ("", "b's\n")
    assert sorted(done.stdout.splitlines()) == [
        "The log that the steps of this process share can't be opened: no room",
        "b's",
        "whose?",
    ]


def test_threads_and_tasks_each_print_to_their_own_step(run):
    """20 threads and 20 tasks with a step each: each log has exactly its own lines, whole."""
    done = run(
        """
        import asyncio
        shared = shared_log()

        def work(name):
            step = open_step(name, shared=shared)
            for number in range(50):
                print(name, number)
                print(name, number, file=sys.stderr)
            step.close()

        async def task(name):
            step = open_step(name, shared=shared)
            for number in range(50):
                print(name, number)
                await asyncio.sleep(0)
            step.close()

        async def tasks():
            await asyncio.gather(*(task(f"task{n}") for n in range(20)))

        threads = [threading.Thread(target=work, args=(f"thread{n}",)) for n in range(20)]
        for thread in threads: thread.start()
        asyncio.run(tasks())
        for thread in threads: thread.join()
        shared.close()
        """
    )
    names = [f"thread{n}" for n in range(20)] + [f"task{n}" for n in range(20)]
    for name in names:
        lines = "".join(f"{name} {number}\n" for number in range(50))
        assert done.log(f"{name}.out") == lines
        assert done.log(f"{name}.err") == (lines if name.startswith("thread") else "")
    assert sorted(done.stdout.splitlines()) == sorted(f"{name} {number}" for name in names for number in range(50))


def test_lines_of_two_threads_of_one_step_do_not_mix(run):
    """Four threads of one step print at once: each line is whole."""
    done = run(
        """
        step = open_step("a")
        def work(letter):
            for _ in range(500):
                print(letter * 3, letter * 3)
        threads = [threading.Thread(target=work, args=(letter,)) for letter in "abcd"]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        step.close()
        """
    )
    assert sorted(done.log("a.out").splitlines()) == sorted(f"{c * 3} {c * 3}" for c in "abcd" for _ in range(500))


def test_a_new_thread_belongs_to_the_only_step_or_to_the_one_it_is_bound_to(run):
    """A thread with an empty context: the only open step; with several, the bound one, else the shared log."""
    done = run(
        """
        shared = shared_log()
        def in_thread(function, *args):
            thread = threading.Thread(target=function, args=args); thread.start(); thread.join()
        a = open_step("a", shared=shared)
        in_thread(print, "a alone")
        b = open_step("b", shared=shared)
        in_thread(print, "unbound")
        in_thread(a.bind(print), "bound to a")
        with a.active():
            print("a by hand")
        print("b")
        b.close(); a.close(); shared.close()
        """
    )
    assert done.log("a.out") == "a alone\nbound to a\na by hand\n"
    assert done.log("b.out") == "b\n"
    assert done.log("(process).out") == "unbound\n"


def test_what_a_task_prints_after_its_step_goes_to_the_step_around_it(run):
    """A task that outlives the step it was started in: its text goes to the enclosing step, never to another's log."""
    done = run(
        """
        import asyncio
        async def late(gate):
            await gate.wait()
            print("late")
        async def main():
            gate = asyncio.Event()
            outer = open_step("outer", shared=shared)
            inner = open_step("inner", shared=shared)
            task = asyncio.create_task(late(gate))
            inner.close()
            other = open_step("other", shared=shared)
            gate.set(); await task
            other.close(); outer.close()
        shared = shared_log()
        asyncio.run(main())
        shared.close()
        """
    )
    assert done.log("outer.out") == "late\n"
    assert done.log("inner.out") == done.log("other.out") == ""


def test_a_redirection_inside_a_step_is_the_programs_own(run):
    """contextlib.redirect_stdout in a step: the text is the program's; a step opened inside it gets its own too."""
    done = run(
        """
        import contextlib, io
        a = open_step("a", shared=shared_log())
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            print("redirected")
            b = open_step("b")
            print("in b")
            b.close()
        print("a again")
        a.close()
        print(repr(text.getvalue()))
        """
    )
    assert done.log("a.out") == "a again\n"
    assert done.log("b.out") == "in b\n"
    assert done.stdout == "a again\n'redirected\\nin b\\n'\n"


def test_a_tee_around_our_stream_writes_once(run):
    """A program that puts a tee around sys.stdout during a step: text is once in the log and once on the console."""
    done = run(
        """
        class Tee:
            def __init__(self, below): self.below, self.seen = below, []
            def write(self, text): self.seen.append(text); return self.below.write(text)
            def flush(self): self.below.flush()
        shared = shared_log()
        a = open_step("a", shared=shared)
        tee = sys.stdout = Tee(sys.stdout)
        b = open_step("b", shared=shared)
        print("in b")
        b.close()
        print("in a")
        sys.stdout = tee.below
        a.close(); shared.close()
        sys.__stdout__.write(repr("".join(tee.seen)))
        """
    )
    assert (done.log("a.out"), done.log("b.out")) == ("in a\n", "in b\n")
    assert done.stdout.count("in b\n") == 1
    assert done.stdout.endswith("'in b\\nin a\\n'")
