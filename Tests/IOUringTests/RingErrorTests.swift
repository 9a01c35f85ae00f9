import Glibc
import IOUring
import Testing

@Suite struct RingErrorTests {
    // Method: the table of refusals that operators meet, each with the remedy its line must name.
    @Test(arguments: [
        (RingError.Operation.setUp, ENOSYS, "Linux 6.1"),
        (.setUp, EPERM, "kernel.io_uring_disabled"), (.setUp, EPERM, "seccomp"),
        (.setUp, EACCES, "container profile"), (.setUp, ENOMEM, "ulimit -l"),
        (.setUp, EINVAL, "DEFER_TASKRUN"), (.setUp, EMFILE, "ulimit -n"),
        (.registerBuffers, ENOMEM, "ulimit -l"), (.registerBufferGroup, ENOMEM, "ulimit -l"),
        (.mapMemory, ENOMEM, "fewer or smaller"), (.registerFiles, EMFILE, "ulimit -n"),
        (.registerBuffers, EBUSY, "already"), (.submit, EEXIST, "thread"),
        (.submit, EINVAL, "thread"),
        (.submit, EFAULT, "Bad address (errno 14)"),
    ])
    func namesTheRemedy(_ operation: RingError.Operation, _ code: Int32, _ remedy: String) {
        let line = RingError.explanation(of: operation, code)
        #expect(line.contains(remedy))
        #expect(line == RingError(operation, code).description)
    }

    // Method: every operation with every errno gives exactly one non-trivial line.
    @Test func isAlwaysOneLine() {
        for operation in RingError.Operation.allCases {
            for code in Int32(1)...133 {
                let line = RingError.explanation(of: operation, code)
                #expect(line.hasPrefix("cannot \(operation.rawValue): "))
                #expect(!line.contains("\n") && line.utf8.count < 220)
            }
        }
    }

    // Method: open a file where there is no directory and read the message.
    @Test func systemErrorNamesWhatFailed() {
        let error = #expect(throws: SystemError.self) {
            _ = try Descriptors.open("/nonexistent/x", direct: false)
        }
        let text = "cannot open /nonexistent/x: No such file or directory (errno 2)"
        #expect(error?.description == text)
        #expect(error?.code == ENOENT)
    }
}
