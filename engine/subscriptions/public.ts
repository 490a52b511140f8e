/** What callers of the engine can name of this room. */
export type { AdvanceDone } from './advancing';
export type { LeftBehind } from './brake';
export type { CancelRequest, SubscriptionRequest } from './cancelling';
export type { ChangedAnswer, ChangedSubscription } from './change-of-subscription';
export type { ChangeSubscriptionRequest } from './changing';
export type { PauseRequest, ResumeRequest } from './pausing';
export type { Subscription } from './reading';
export type { Replaced } from './replaced';
export type { ResetDone, ResetRequest, RestoreDone } from './resetting';
export type { DeniedSubscription, StartAnswer, StartRequest } from './starting';
export type { AddStepsAnswer, AddStepsRequest } from './steps';
export {
  SUBSCRIPTION_STATUSES,
  type EndReason,
  type SubscriptionStatus,
} from './stored-subscription';
export type { ListSubscriptionsRequest } from './subscriptions';
