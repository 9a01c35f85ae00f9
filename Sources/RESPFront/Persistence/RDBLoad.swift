import Glibc
import Primitives
import TieredStore

/// An RDB file on its way into the keyspace, a slice at a time: at the start beside clients, who are told so
/// meanwhile (LOADING), or in one go while the world stands still.
///
/// A file larger than RAM is no trouble: a slice ends when RAM is full and goes on when values have left it.
/// What a file has and a master of Redis 7.0 does not load is left out here too: keys whose time is over,
/// collections without members.
public final class RDBLoad: DatasetLoad {
    private static let readBytes = 1 << 20
    /// Bytes of the file taken in one slice.
    private static let sliceBytes = 256 << 10

    private unowned let server: ServerState
    private let path: String
    private let descriptor: Int32
    private let file: RDBFile
    private let byteCount: Int
    private let startedAt: Int64
    private var reportedAt: Int64
    /// A slice ended for want of RAM.
    private var isWaiting = false
    public private(set) var keysLoaded = 0
    public private(set) var keysExpired = 0
    private var keysEmpty = 0
    /// Where the file ends, once it has: something may stand behind it.
    private(set) var end = 0

    /// It is the base of the append-only file: what follows may know keys whose time is over by now.
    private let isBase: Bool

    /// Opens the file. Errors: it cannot be read.
    public init(_ server: ServerState, path: String, isBase: Bool = false) throws(FileFailure) {
        self.isBase = isBase
        self.server = server
        self.path = path
        descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw FileFailure("\(path): \(String(cString: strerror(errno)))") }
        var facts = stat()
        byteCount = fstat(descriptor, &facts) == 0 ? Int(facts.st_size) : 0
        // A value has to fit into RAM; a count that a damaged file has must not take more than that.
        let most = max(server.store.ledger.limit, 1 << 20)
        file = RDBFile(checks: server.configuration.rdbChecksum, valueBytesMax: most)
        startedAt = server.fronts[0].worker.now
        reportedAt = startedAt
    }

    deinit { close(descriptor) }

    /// Bytes done with, and in all.
    public var progress: (done: Int, of: Int) { (file.offset, byteCount) }
    public var began: Int64 { startedAt }

    /// Loads a slice more; true when all is loaded. No stripe is held, and no other loop changes the
    /// keyspace. Errors: the file is damaged, or of another kind; what came before is loaded.
    public func slice() throws(FileFailure) -> Bool {
        let most = file.offset + RDBLoad.sliceBytes
        report()
        while file.offset < most {
            guard try hasRoom() else { return false }
            switch try next() {
            case nil: fill()
            case .entry(let entry): try take(entry)
            case .library(let text): try take(library: text)
            case .end:
                end = file.eventEnd
                finish()
                return true
            case .version, .auxiliary, .database, .sizes, .skipped: continue
            }
        }
        return false
    }

    private func next() throws(FileFailure) -> RDBFile.Event? {
        do throws(RDBFileError) { return try file.next() } catch {
            throw FileFailure("\(path): \(error.text)")
        }
    }

    private func fill() {
        let room = file.room(RDBLoad.readBytes)
        while true {
            let count = read(descriptor, room.baseAddress!, RDBLoad.readBytes)
            if count < 0, errno == EINTR { continue }
            if count <= 0 { return file.finish() }
            return file.added(count)
        }
    }

    /// Whether there is RAM for some more keys; if not, values are leaving it.
    private func hasRoom() throws(FileFailure) -> Bool {
        let worker = server.fronts[0].worker, bytes = RDBLoad.sliceBytes
        if isWaiting, !worker.hasRoom(bytes), !worker.refuses(bytes) { return false }
        // On behalf of no session.
        switch worker.admit(min(bytes, server.store.ledger.limit / 4), token: UInt32.max) {
        case .go: isWaiting = false
        case .wait: isWaiting = true
        case .refused:
            throw FileFailure("\(path): RAM and SSD are full after \(keysLoaded) keys")
        }
        return !isWaiting
    }

    private func take(_ entry: RDBFile.Entry) throws(FileFailure) {
        let front = server.fronts[0], keys = front.keys, worker = front.worker
        guard entry.database < server.store.options.databases else {
            throw FileFailure("""
                \(path): it has keys in database \(entry.database), and there are \
                \(server.store.options.databases): raise `databases`
                """)
        }
        if !isBase, let expiry = entry.expiry, expiry <= worker.now {
            keysExpired += 1
            return
        }
        keys.add(entry.key, hash: worker.hash(entry.key), database: entry.database)
        keys.lock()
        defer { keys.end() }
        do throws(CommandError) {
            let expiry = entry.expiry.map { ExpiryChange.at($0) } ?? .none
            switch try keys.restore(0, type: entry.type, entry.encoding, expiry: expiry) {
            case .done: keysLoaded += 1
            case .empty: keysEmpty += 1
            case .malformed: throw .message("its value makes no sense")
            }
        } catch {
            let name = entry.key.prefix(64).text
            throw FileFailure("\(path) at byte \(entry.offset): key '\(name)': \(error)")
        }
    }

    private func take(library text: ByteView) throws(FileFailure) {
        do throws(CommandError) { try server.restore(library: text) } catch {
            throw FileFailure("\(path) at byte \(file.offset): a library of functions: \(error)")
        }
    }

    // MARK: What is said

    private func report() {
        let now = server.fronts[0].worker.now
        guard now - reportedAt > 5000, byteCount > 0 else { return }
        reportedAt = now
        server.log(.notice, "Loading \(path): \(file.offset * 100 / byteCount) %, \(keysLoaded) keys")
    }

    private func finish() {
        let milliseconds = server.fronts[0].worker.now - startedAt
        server.log(.notice, """
            Done loading RDB, keys loaded: \(keysLoaded), keys expired: \(keysExpired), empty keys skipped: \
            \(keysEmpty).
            """)
        server.log(.notice, "DB loaded from disk: \(Double(milliseconds) / 1000) seconds")
    }
}
