import Primitives
import RESPWire
import Synchronization
import TieredStore

/// What one loop's front tells another's.
enum FrontMail: Sendable {
    case publication(PubSub.Publication)
    /// A line for the loop's MONITOR clients.
    case monitorLine([UInt8])
    /// Keys a client has in its cache were changed; nil: all of them.
    case invalidation(of: ClientAddress, keys: [[UInt8]]?)
    /// The same for a client that another one's invalidations are redirected to.
    case redirectedInvalidation(to: ClientAddress, for: ClientAddress, keys: [[UInt8]]?)
    /// The client that should have got it is gone.
    case redirectionBroken(of: ClientAddress)
    /// FLUSHALL, FLUSHDB, or tracking-table-max-keys is exceeded no more.
    case invalidateEverything
    /// The client's blocking command was run by another loop.
    case answer(Waiter, [UInt8])
    /// The client's blocking command may find something, but must be run by its own loop.
    case retry(Waiter)
    /// A save that clients may wait for has ended.
    case saveEnded
    /// CLIENT UNBLOCK.
    case unblock(Waiter, withError: Bool)
}

/// Letters between fronts. Any loop posts, only the owner takes. The lock is taken last.
final class FrontMailbox: Sendable {
    private let letters = Mutex([FrontMail]())

    /// Whether the box was empty: then its owner must be woken.
    func post(_ letter: FrontMail) -> Bool {
        letters.withLock { letters in
            letters.append(letter)
            return letters.count == 1
        }
    }

    func take() -> [FrontMail] {
        letters.withLock { letters in
            if letters.isEmpty { return [] }
            defer { letters = [] }
            return letters
        }
    }
}

extension Front {
    /// Tells this front something. Called by any loop.
    func post(_ letter: FrontMail) { if mailbox.post(letter) { wake() } }

    /// Does what other loops' fronts have asked for. Runs no session: those that can go on do so in
    /// `resume`.
    public func readMail() {
        for letter in mailbox.take() {
            switch letter {
            case .publication(let publication): deliver(publication)
            case .monitorLine(let line): writeToMonitors(line)
            case .invalidation(let client, let keys): invalidate(client, keys)
            case .redirectedInvalidation(let target, let client, let keys):
                invalidateRedirected(to: target, for: client, keys)
            case .redirectionBroken(let client): redirectionBroke(client)
            case .invalidateEverything: invalidateEverything()
            case .answer(let waiter, let reply): answer(waiter, reply)
            case .retry(let waiter): retry(waiter)
            case .saveEnded: resumeSavers()
            case .unblock(let waiter, let withError): endWait(waiter, withError ? .error : .null)
            }
        }
    }
}
