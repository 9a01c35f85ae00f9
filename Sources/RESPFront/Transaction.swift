import Primitives
import RESPWire
import TieredStore

/// What a session has queued since MULTI.
final class Transaction {
    /// The rows of the queued requests, in order.
    private(set) var rows: [Command] = []
    let requests = RequestList()
    /// A request was refused while queueing: EXEC runs nothing.
    var isAborted = false
    /// Flags any of the rows has.
    private(set) var flags: CommandFlags = []
    /// Some command looks beyond its keys: all of it runs alone.
    private(set) var runsAlone = false

    var count: Int { rows.count }
    var writes: Bool { flags.contains(.write) }
    var memory: Int { requests.memory + rows.count * 16 }

    func append(_ row: Command, _ arguments: Arguments) {
        rows.append(row)
        requests.append(arguments)
        flags.formUnion(row.flags)
        if row.runsAlone(arguments) || row.runsScript { runsAlone = true }
    }

    func removeAll() {
        rows.removeAll(keepingCapacity: rows.count <= 1024)
        requests.removeAll()
        isAborted = false
        flags = []
        runsAlone = false
    }
}

/// What transactions ask of a row at each of its requests, told by its name once.
struct TransactionTraits: OptionSet {
    let rawValue: UInt8
    /// EXEC.
    static let exec = TransactionTraits(rawValue: 1 << 0)
    /// Runs at once after MULTI, is not queued.
    static let isNotQueued = TransactionTraits(rawValue: 1 << 1)
    /// May be turned off by configuration (`enable-debug-command`), which is told while it is queued.
    static let isProtected = TransactionTraits(rawValue: 1 << 2)
    /// Takes stripes itself or stops the world from within, so that it cannot run while any is held.
    static let walks = TransactionTraits(rawValue: 1 << 3)
    /// Reads keys that its words may name by a pattern.
    static let sorts = TransactionTraits(rawValue: 1 << 4)
    /// Changes what database a number stands for, or which is the session's.
    static let changesDatabase = TransactionTraits(rawValue: 1 << 5)

    init(rawValue: UInt8) { self.rawValue = rawValue }

    init(of name: String) {
        self = switch name {
        case "exec": [.exec, .isNotQueued]
        case "discard", "multi", "watch", "quit", "reset": .isNotQueued
        case "scan": .walks
        case "debug": [.walks, .isProtected]
        case "module|load", "module|loadex", "module|unload": .isProtected
        case "sort", "sort_ro": .sorts
        case "select", "swapdb": .changesDatabase
        default: []
        }
    }
}

extension Command {
    var walks: Bool { traits.contains(.walks) }

    /// Looks beyond its keys: inside a transaction or a script it runs while the world stands still.
    func runsAlone(_ arguments: Arguments) -> Bool {
        if flags.contains(.stopsWorld) || walks { return true }
        return traits.contains(.sorts) && SortCommands.namesOthers(arguments)
    }

    /// Runs a script, which may want any key: in a transaction the world stands still for it.
    var runsScript: Bool { flags.contains(.noMandatoryKeys) }
}

/// The keys a session watches.
final class Watch {
    let mark = WatchMark()
    /// One request a database and key: its words are the key alone.
    let keys = RequestList(bytes: 64, words: 4)
    private(set) var places: [(hash: UInt64, database: Int)] = []
    var isDirty: Bool { mark.isDirty }
    var count: Int { places.count }

    func key(_ i: Int) -> ByteView { keys[i][0] }

    func contains(_ key: ByteView, hash: UInt64, database: Int) -> Bool {
        places.indices.contains {
            places[$0].hash == hash && places[$0].database == database && self.key($0) == key
        }
    }

    func append(_ key: ByteView, hash: UInt64, database: Int) {
        keys.append(word: key)
        places.append((hash, database))
    }

    func removeAll() {
        keys.removeAll()
        places.removeAll(keepingCapacity: true)
        mark.set(false)
    }
}

// Watching.
extension Front {
    /// Watches key `i` of the running WATCH, whose stripe is held.
    func watch(_ session: Session, _ i: Int) {
        let watch = session.watch ?? Watch()
        session.watch = watch
        let hash = keys.keyHash(i), database = keys.database(i)
        if watch.contains(keys.key(i), hash: hash, database: database) { return }
        // Redis 7.0: a key whose time is over is watched as absent.
        _ = keys.exists(i)
        let stripe = worker.stripeNumber(of: hash)
        server.interests.findOrAdd(keys.key(i), hash: hash, stripe: stripe, database: database)
            .watchers.append(watch.mark)
        watch.append(keys.key(i), hash: hash, database: database)
        audience.add(1, to: .watchedKeys)
    }

    /// Watches nothing any more. `holding`: the keys' stripes are held.
    func unwatch(_ session: Session, holding: Bool) {
        guard let watch = session.watch, watch.count > 0 else { return }
        for i in 0..<watch.count {
            let place = watch.places[i]
            if holding {
                remove(watch, i, place.hash, place.database)
            } else {
                worker.withStripe(of: place.hash) { remove(watch, i, place.hash, place.database) }
            }
        }
        audience.add(-watch.count, to: .watchedKeys)
        watch.removeAll()
    }

    private func remove(_ watch: Watch, _ i: Int, _ hash: UInt64, _ database: Int) {
        let stripe = worker.stripeNumber(of: hash)
        guard let interest = server.interests.find(
            watch.key(i), hash: hash, stripe: stripe, database: database)
        else { return }
        interest.watchers.removeAll { $0 === watch.mark }
        server.interests.dropIfEmpty(interest, hash: hash, stripe: stripe)
    }

    /// The session leaves its transaction.
    func endTransaction(_ session: Session, holding: Bool = false) {
        session.transaction?.removeAll()
        session.modes.remove(.inTransaction)
        unwatch(session, holding: holding)
    }
}
