import Glibc

/// Why the kernel refused something about a ring, as one line that names the remedy.
public struct RingError: Error, Equatable, Sendable, CustomStringConvertible {
    public enum Operation: String, CaseIterable, Sendable {
        case setUp = "set up an io_uring"
        case registerFiles = "register files with the ring"
        case registerBuffers = "register disk buffers with the ring"
        case registerBufferGroup = "register a receive buffer group with the ring"
        case mapMemory = "map memory for buffers"
        case submit = "submit to the ring"
    }

    public let operation: Operation
    public let code: Int32

    public init(_ operation: Operation, _ code: Int32) {
        self.operation = operation
        self.code = code
    }

    public var description: String { RingError.explanation(of: operation, code) }

    /// The line for the operator: what failed, why, and what to do. Depends on nothing but its
    /// arguments.
    public static func explanation(of operation: Operation, _ code: Int32) -> String {
        "cannot \(operation.rawValue): \(cause(of: operation, code))"
    }

    static func cause(of operation: Operation, _ code: Int32) -> String {
        switch (operation, code) {
        case (.setUp, ENOSYS):
            "this kernel lacks io_uring, or a container profile hides it; "
                + "Linux 6.1 or newer is needed"
        case (.setUp, EPERM), (.setUp, EACCES):
            "it is forbidden here; set sysctl kernel.io_uring_disabled=0, or allow io_uring_setup, "
                + "io_uring_enter and io_uring_register in the seccomp or container profile"
        case (.setUp, EINVAL):
            "this kernel is too old for IORING_SETUP_DEFER_TASKRUN; Linux 6.1 or newer is needed"
        case (.setUp, EMFILE), (.setUp, ENFILE):
            "too many open files; raise ulimit -n"
        case (.mapMemory, ENOMEM):
            "not enough memory; configure fewer or smaller buffers, or raise ulimit -v"
        case (_, ENOMEM):
            "the limit on locked memory is too low; raise ulimit -l (LimitMEMLOCK in systemd)"
        case (.registerBufferGroup, EEXIST):
            "the group is in use, or the ring belongs to another thread; "
                + "use it only on the thread that made it"
        case (_, EEXIST), (.submit, EINVAL), (.submit, EBADF):
            "the ring belongs to another thread; use it only on the thread that made it"
        case (.registerFiles, EBUSY), (.registerBuffers, EBUSY):
            "the ring already has some; register once"
        case (.registerFiles, EMFILE):
            "more slots than open files allowed; raise ulimit -n"
        default:
            SystemError.text(of: code)
        }
    }
}
