// Compares what web/datachan declares with what the compiler finds in the modules themselves (build/types): the same
// exports, and no declared member that a module does not have. Nothing here runs.

import type * as declared from "datachan";
import type * as declaredPatterns from "datachan/patterns";
import type * as found from "found";
import type * as foundPatterns from "found/patterns";

type Same<A, B> = [Exclude<A, B> | Exclude<B, A>] extends [never] ? true : Exclude<A, B> | Exclude<B, A>;
type Has<Declared, Found> = [Exclude<keyof Declared, keyof Found>] extends [never] ? true : Exclude<keyof Declared, keyof Found>;

export const exports: Same<keyof typeof declared, keyof typeof found> = true;
export const exportsOfPatterns: Same<keyof typeof declaredPatterns, keyof typeof foundPatterns> = true;

type Found = ReturnType<typeof found.connect>;
export const connection: Has<declared.Connection, Found> = true;
export const channel: Has<declared.Channel, Found["channels"][string]> = true;
export const latestValues: Has<declared.LatestValues, found.LatestValues> = true;
export const requestChannel: Has<declaredPatterns.RequestChannel, foundPatterns.RequestChannel> = true;
export const clock: Has<declaredPatterns.Clock, foundPatterns.Clock> = true;
export const heartbeat: Has<declaredPatterns.Heartbeat, foundPatterns.Heartbeat> = true;
export const broadcast: Has<declaredPatterns.Broadcast, foundPatterns.Broadcast> = true;
