import Glibc

/// A small file as a whole: for the configuration file and the like, never for data.
public enum FileBytes {
    /// All bytes of the file; nil and errno when it cannot be read.
    public static func read(_ path: String) -> [UInt8]? {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = Glibc.read(file, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { return nil }
            if count == 0 { return bytes }
            bytes += chunk[0..<count]
        }
    }

    /// Replaces the file so that a crash leaves the old or the new one; false and errno otherwise.
    public static func replace(_ path: String, with bytes: [UInt8]) -> Bool {
        let fresh = "\(path).\(getpid()).tmp"
        let file = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard file >= 0 else { return false }
        var written = 0
        while written < bytes.count {
            let count = bytes[written...].withUnsafeBytes { write(file, $0.baseAddress!, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            written += count
        }
        let isWhole = written == bytes.count && fsync(file) == 0
        let why = errno
        close(file)
        if isWhole, rename(fresh, path) == 0 { return true }
        if !isWhole { errno = why }
        let reason = errno
        unlink(fresh)
        errno = reason
        return false
    }
}
