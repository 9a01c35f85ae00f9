import Glibc

/// A copy of a file that is complete and on the disk, or is not there.
enum FileCopy {
    struct Failure: Error, CustomStringConvertible { let description: String }

    private static func failure(_ path: String) -> Failure {
        Failure(description: "\(path): \(String(cString: strerror(errno)))")
    }

    /// Copies a file. Errors: in words; the copy is deleted then.
    static func copy(_ source: String, to target: String) throws(Failure) {
        let from = open(source, O_RDONLY | O_CLOEXEC)
        guard from >= 0 else { throw failure(source) }
        defer { close(from) }
        let to = open(target, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard to >= 0 else { throw failure(target) }
        defer { close(to) }
        do throws(Failure) {
            try move(from, source, to, target)
            if fsync(to) != 0 { throw failure(target) }
        } catch {
            unlink(target)
            throw error
        }
    }

    private static func move(
        _ from: Int32, _ source: String, _ to: Int32, _ target: String
    ) throws(Failure) {
        var chunk = [UInt8](repeating: 0, count: 1 << 20)
        while true {
            let count = read(from, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            if count < 0 { throw failure(source) }
            if count == 0 { return }
            var done = 0
            while done < count {
                let n = chunk.withUnsafeBytes { write(to, $0.baseAddress! + done, count - done) }
                if n < 0, errno == EINTR { continue }
                if n <= 0 { throw failure(target) }
                done += n
            }
        }
    }

    /// Gives a file another name, which it has after a crash too.
    static func rename(_ path: String, to other: String) throws(Failure) {
        if Glibc.rename(path, other) != 0 { throw failure(path) }
        let parent = other.lastIndex(of: "/").map { String(other[..<$0]) } ?? "."
        let directory = open(parent.isEmpty ? "/" : parent, O_RDONLY | O_CLOEXEC)
        defer { close(directory) }
        if fsync(directory) != 0 { throw failure(parent) }
    }
}
