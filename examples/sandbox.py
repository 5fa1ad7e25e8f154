"""Run code that nobody has read: no network, no files but a scratch folder, bounded time and memory."""

from loraloop import run_python


def main() -> None:
    for code in (
        "print(sum(range(10)))",
        "print(open('/etc/passwd').read())",
        "import socket; socket.create_connection(('example.org', 80))",
        "while True: pass",
    ):
        result = run_python(code, timeout=0.5)
        last = (result.stdout or result.stderr).strip().splitlines()[-1:]
        shown = "timed out" if result.timed_out else "".join(last)
        print(f"{result.mechanism} {result.ms:4.0f} ms  {code!r}: {shown}")


if __name__ == "__main__":
    main()
