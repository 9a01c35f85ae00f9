import Glibc
import Primitives
import TieredStore

/// An RDB file read to its end, its checksum included.
struct RDBCheck {
    struct Failure: Error, CustomStringConvertible {
        let description: String
        var isDamage = false
    }

    private(set) var keys = 0
    /// Of the file; and where in it the RDB file ends.
    let byteCount: Int
    private(set) var end = 0

    var text: String { "\(Format.count(Double(keys))) keys, \(Format.bytes(Double(end)))" }

    /// Errors: it cannot be opened or read; it is damaged, and where.
    init(_ path: String) throws(Failure) {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw Failure(description: String(cString: strerror(errno))) }
        defer { close(file) }
        var facts = stat()
        fstat(file, &facts)
        byteCount = Int(facts.st_size)
        let reader = RDBFile(modules: .skipped)
        do throws(RDBFileError) {
            while true {
                switch try reader.next() {
                case nil: try RDBCheck.fill(reader, file)
                case .entry, .skipped(_, .some): keys += 1
                case .end:
                    end = reader.eventEnd
                    return
                default: continue
                }
            }
        } catch { throw Failure(description: error.text, isDamage: true) }
    }

    private static func fill(_ reader: RDBFile, _ file: Int32) throws(RDBFileError) {
        let room = reader.room(1 << 20)
        while true {
            let count = read(file, room.baseAddress!, room.count)
            if count < 0, errno == EINTR { continue }
            if count <= 0 { return reader.finish() }
            return reader.added(count)
        }
    }

    /// Whether a file begins as an RDB file does.
    static func isRDB(_ path: String) -> Bool {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return false }
        defer { close(file) }
        var magic = [UInt8](repeating: 0, count: 5)
        return read(file, &magic, 5) == 5 && magic == Array("REDIS".utf8)
    }
}
