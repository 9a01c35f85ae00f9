import Primitives
import RESPWire
import Synchronization
import TieredStore

/// A client that waits for one of a command's keys: what whoever changes such a key needs in order
/// to run the command on the client's behalf.
///
/// @unchecked: all but `state` is written before it is registered under the keys' stripes, and read
/// by who has found it there or has claimed it.
final class Waiter: @unchecked Sendable {
    /// waiting → claimed (someone runs its command) → answered, or waiting again;
    /// waiting → cancelled (time over, unblocked, gone).
    enum State: UInt8, AtomicRepresentable { case waiting, claimed, answered, cancelled }

    let client: ClientAddress
    let database: Int
    let version: ReplyWriter.Version
    /// Unix milliseconds; 0: for ever.
    let deadline: Int64
    /// Its own copy of the request.
    let request: RequestList
    /// Name of the row, which each loop has its own of.
    let commandName: String
    /// Where its streams are read from.
    var starts: [StreamReadCommands.Start]?
    /// Hashes of the keys it is registered with.
    var places: [(key: [UInt8], hash: UInt64)] = []
    private let state = Atomic<State>(.waiting)

    init(
        client: ClientAddress, session: Session, database: Int, deadline: Int64, commandName: String,
        request: RequestList
    ) {
        self.client = client
        self.database = database
        version = session.version
        self.deadline = deadline
        self.commandName = commandName
        self.request = request
    }

    var isWaiting: Bool { state.load(ordering: .acquiring) == .waiting }

    var isAnswered: Bool { state.load(ordering: .acquiring) == .answered }
    var isCancelled: Bool { state.load(ordering: .acquiring) == .cancelled }

    /// From waiting to `new`; false if someone else was first.
    func take(_ new: State) -> Bool {
        state.compareExchange(
            expected: .waiting, desired: new, ordering: .acquiringAndReleasing).exchanged
    }

    /// What was claimed is answered, or waits again.
    func settle(_ new: State) { state.store(new, ordering: .releasing) }
}
