import CSystem
import Glibc
import Primitives
import RESPFront

/// Log lines as Redis writes them: pid:role date level text.
public final class ServerLog: @unchecked Sendable {
    private let descriptor: Int32
    var level: LogLevel

    /// `path` empty: standard output.
    init(path: String, level: LogLevel) {
        self.level = level
        let file = path.isEmpty ? 1 : open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        descriptor = file < 0 ? 2 : file
    }

    public func write(_ level: LogLevel, _ text: String) {
        guard level >= self.level else { return }
        let microseconds = csystem_realtime_us()
        var seconds = time_t(microseconds / 1_000_000)
        var calendar = tm()
        localtime_r(&seconds, &calendar)
        var date = [CChar](repeating: 0, count: 64)
        strftime(&date, 64, "%d %b %Y %H:%M:%S", &calendar)
        let day = String(decoding: date.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let fraction = String(microseconds / 1000 % 1000 + 1000).dropFirst()
        let mark = [".", "-", "*", "#"][level.rawValue]
        let line = Array("\(getpid()):M \(day).\(fraction) \(mark) \(text)\n".utf8)
        _ = line.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress!, $0.count) }
    }
}
