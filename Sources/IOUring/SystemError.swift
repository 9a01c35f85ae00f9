import Glibc

/// A system call that failed: its errno and what was being attempted.
public struct SystemError: Error, Equatable, Sendable, CustomStringConvertible {
    public let code: Int32
    /// What was attempted and on what, as it should read after "cannot".
    public let operation: String

    public init(_ code: Int32, _ operation: String) {
        self.code = code
        self.operation = operation
    }

    public var description: String { "cannot \(operation): \(SystemError.text(of: code))" }

    /// The system's words for an errno, with the number for searching.
    public static func text(of code: Int32) -> String {
        var words = [CChar](repeating: 0, count: 128)
        guard strerror_r(code, &words, words.count) == 0 else { return "error \(code)" }
        let length = words.firstIndex(of: 0) ?? words.count
        return String(decoding: words[..<length].map(UInt8.init(bitPattern:)), as: UTF8.self)
            + " (errno \(code))"
    }
}
