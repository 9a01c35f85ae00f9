import Primitives
import RESPWire

/// One event loop's commands, found by name ignoring case.
public final class CommandTable {
    /// All rows, subcommands not included, in the order of their families.
    public let rows: [Command]
    private let slots: UnsafeMutablePointer<Int32>
    private let mask: Int
    private let byName: UnsafeMutablePointer<Unmanaged<Command>>

    /// Families of commands. A new family is one line here.
    static func families() -> [[Command]] {
        [
            StringCommands.rows(), BitmapCommands.rows(), HyperLogLogCommands.rows(),
            ScriptCommands.rows(), FunctionCommands.rows(), ListCommands.rows(), HashCommands.rows(),
            SetCommands.rows(), SortedSetCommands.rows(), GeoCommands.rows(), StreamCommands.rows(),
            DumpCommands.rows(), GenericCommands.rows(), SortCommands.rows(), DatabaseCommands.rows(),
            ConnectionCommands.rows(), TransactionCommands.rows(),
            PubSubCommands.rows(), ServerCommands.rows(), AccessCommands.rows(),
            ReplicationCommands.rows(), SavingCommands.rows(), ClusterCommands.rows(), TierCommands.rows(),
        ]
    }

    /// `extra`: rows of the caller's own, for tests.
    public init(extra: [Command] = []) {
        rows = CommandTable.families().flatMap { $0 } + extra
        var size = 256
        while size < rows.count * 4 { size *= 2 }
        mask = size - 1
        slots = .allocate(capacity: size)
        slots.initialize(repeating: -1, count: size)
        byName = .allocate(capacity: rows.count)
        for (i, row) in rows.enumerated() {
            (byName + i).initialize(to: Unmanaged.passUnretained(row))
            var at = row.nameBytes.withView { CommandTable.hash($0) } & mask
            while slots[at] >= 0 {
                precondition(rows[Int(slots[at])].name != row.name, "two rows named \(row.name)")
                at = (at + 1) & mask
            }
            slots[at] = Int32(i)
        }
    }

    deinit {
        slots.deallocate()
        byName.deallocate()
    }

    @inline(__always)
    private static func hash(_ name: ByteView) -> Int {
        var h: UInt32 = 2_166_136_261
        for i in 0..<min(name.count, 24) {
            h = (h ^ UInt32(ByteView.lowercased(name[i]))) &* 16_777_619
        }
        return Int(h ^ h >> 15)
    }

    /// The row of a command, lent unretained: the table outlives every call.
    @inline(__always)
    func find(_ name: ByteView) -> Unmanaged<Command>? {
        var at = CommandTable.hash(name) & mask
        while slots[at] >= 0 {
            let row = byName[Int(slots[at])]
            if row._withUnsafeGuaranteedRef({ $0.isNamed(name) }) { return row }
            at = (at + 1) & mask
        }
        return nil
    }

    /// A command or, when it has subcommands and a second word names one, the subcommand.
    public func find(_ name: ByteView, sub: ByteView?) -> Command? {
        guard let row = find(name)?.takeUnretainedValue() else { return nil }
        guard let sub, !row.subcommands.isEmpty else { return row }
        return row.subcommand(sub) ?? row
    }
}

extension Command {
    @inline(__always)
    func isNamed(_ name: ByteView) -> Bool {
        guard name.count == nameBytes.count else { return false }
        for i in 0..<name.count where ByteView.lowercased(name[i]) != nameBytes[i] { return false }
        return true
    }

    /// The part of a subcommand's name after its container's.
    public var ownName: String { String(name.split(separator: "|").last!) }

    func subcommand(_ word: ByteView) -> Command? {
        let wanted = word.lowercasedText
        return subcommands.first { $0.ownName == wanted }
    }
}
